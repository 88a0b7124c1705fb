"""The engine on the native executor: tokens and logprobs of a request are the same to the bit,
however it was served. The truth is the request alone, cold, in one chunk, on one thread."""

import random
from typing import Any

import numpy as np
import pytest
from engine_harness import UNLIMITED, Answer, Bench, Shape, make_request
from native_decoder import make_executor, supported_isas
from test_engine_grid import Case, num_pages
from text_generation_server._native import SamplingParams
from text_generation_server.engine.request import Request
from text_generation_server.executor.native_executor import NativeExecutor
from text_generation_server.executor.step import Uint32Array
from text_generation_server.models.source import ModelSource, resolve
from tiny_models import VOCAB_SIZE, make_tiny_model
from transformers import Gemma3TextConfig

PAGE = 32
AMPLE = 400
TYPES = [("bf16", "bf16"), ("int8", "int8"), ("int4", "bf16")]
# At the borders of pages and of blocks of 256 keys.
LENGTHS = [1, 2, 31, 32, 33, 80, 255, 256, 257, 300, 530]

Seen = list[tuple[Any, ...]]


def seen(answer: Answer) -> Seen:
    """All that a client is told of each token; equal floats are equal bits but for the sign of 0,
    which no logprob shows."""
    return [(token.token_id, token.logprob, token.top) for token in answer.tokens]


class Truth:
    """What requests must answer."""

    def __init__(self, executor: NativeExecutor) -> None:
        self._executor = executor
        self._answers: dict[Any, Seen] = {}

    def of(self, request: Request) -> Seen:
        params = request.params
        sampling = (params.temperature, params.seed, params.top_n)
        key = (request.tokens.tobytes(), request.max_new_tokens, sampling, request.stop_token_ids)
        if key not in self._answers:
            bench = Bench(
                Shape(num_pages=60, max_step_tokens=UNLIMITED, prefix_caching=False),
                executor=self._executor,
            )
            answer = bench.admit(request)
            bench.run()
            self._answers[key] = seen(answer)
        return self._answers[key]


class Model:
    """Executors of a model and their truths, each made once."""

    def __init__(self, source: ModelSource) -> None:
        self._source = source
        self._executors: dict[Any, NativeExecutor] = {}
        self._truths: dict[Any, Truth] = {}

    def executor(self, **options: Any) -> NativeExecutor:
        """options: those of `Decoder.load`."""
        key = tuple(sorted(options.items()))
        if key not in self._executors:
            self._executors[key] = make_executor(self._source, **options)
        return self._executors[key]

    def truth(self, **options: Any) -> Truth:
        """options: those that may change bits."""
        key = tuple(sorted(options.items()))
        if key not in self._truths:
            self._truths[key] = Truth(self.executor(num_threads=1, sharing=False, **options))
        return self._truths[key]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    """Windowed and full layers, norms of heads, a tied head and sizes that fill no vector."""
    folder = tmp_path_factory.mktemp("model")
    make_tiny_model(
        folder,
        Gemma3TextConfig,
        hidden_size=40,
        head_dim=24,
        query_pre_attn_scalar=24,
        sliding_window=50,
        layer_types=["sliding_attention", "full_attention"],
        max_position_embeddings=2048,
    )
    return Model(resolve(str(folder)))


@pytest.fixture(params=TYPES, ids="-".join)
def types(request: pytest.FixtureRequest) -> dict[str, str]:
    """Of weights, and of keys and values."""
    weights, kv_dtype = request.param
    return {"weights": weights, "kv_dtype": kv_dtype}


def params(number: int) -> SamplingParams:
    """Greedy, or seeded with all that a draw can depend on."""
    if number % 2 == 0:
        return SamplingParams(top_n=3)
    return SamplingParams(temperature=1.3, top_p=0.95, seed=number, top_n=2, repetition_penalty=1.2)


def tokens(length: int, seed: int) -> Uint32Array:
    return np.random.default_rng(seed).integers(0, VOCAB_SIZE - 2, length).astype(np.uint32)


def request(number: int, prompt: Uint32Array, max_new_tokens: int = 6) -> Request:
    return make_request(number, prompt, max_new_tokens, params=params(number))


def requests(lengths: list[int]) -> list[Request]:
    return [request(i, tokens(length, i)) for i, length in enumerate(lengths)]


def bench_of(executor: NativeExecutor, **shape: Any) -> Bench:
    return Bench(Shape(**({"num_pages": AMPLE, "max_batch_size": 32} | shape)), executor=executor)


def serve(bench: Bench, batch: list[Request]) -> list[Seen]:
    answers = [bench.admit(request) for request in batch]
    bench.run()
    return [seen(answer) for answer in answers]


@pytest.mark.parametrize("sharing", [False, True])
@pytest.mark.parametrize("num_threads", [1, 2])
@pytest.mark.parametrize("chunk", [1, 16, 100, 512])
def test_chunks_and_threads_change_no_bit(
    model: Model,
    types: dict[str, str],
    chunk: int,
    num_threads: int,
    sharing: bool,
) -> None:
    truth = model.truth(**types)
    executor = model.executor(**types, num_threads=num_threads, sharing=sharing)
    batch = requests(LENGTHS)
    bench = bench_of(executor, max_step_tokens=chunk)
    assert serve(bench, batch) == [truth.of(request) for request in batch]


@pytest.mark.parametrize("size", [2, 3, 7, 32])
@pytest.mark.parametrize("prefix_caching", [False, True])
def test_batches_change_no_bit(
    model: Model,
    types: dict[str, str],
    prefix_caching: bool,
    size: int,
) -> None:
    """Half of the prompts begin alike, with more than a block: their rows are read together."""
    truth = model.truth(**types)
    executor = model.executor(**types, num_threads=2)
    stem, rng = tokens(280, 99), random.Random(size)
    batch = []
    for number in range(size):
        tail = tokens(rng.randint(1, 90), number)
        prompt = tail if number % 2 else np.concatenate((stem, tail))
        batch.append(request(number, prompt))
    bench = bench_of(executor, max_step_tokens=100, prefix_caching=prefix_caching)
    assert serve(bench, batch) == [truth.of(request) for request in batch]


def test_a_hit_at_any_token_changes_no_bit(model: Model, types: dict[str, str]) -> None:
    truth = model.truth(**types)
    executor = model.executor(**types, num_threads=2)
    prompt = tokens(2 * PAGE + 17, 5)
    cold = request(0, prompt)
    for split in range(1, len(prompt)):
        bench = bench_of(executor)
        serve(bench, [request(1, prompt[:split], max_new_tokens=1)])
        assert serve(bench, [cold]) == [truth.of(cold)], split
        assert bench.answers[0].completion.receipt.cached_tokens == split


def test_eviction_and_return_change_no_bit(model: Model, types: dict[str, str]) -> None:
    """In a pool with room for one long prompt, so that each turns out what the last one left."""
    truth = model.truth(**types)
    executor = model.executor(**types, num_threads=2)
    bench = bench_of(executor, num_pages=12)
    for turn in range(3):
        for batch in [[request(10 * turn + i, tokens(260, i))] for i in range(3)]:
            assert serve(bench, batch) == [truth.of(batch[0])]
    assert bench.cache.evictions() > 0


def test_preemption_changes_no_bit(model: Model, types: dict[str, str]) -> None:
    truth = model.truth(**types)
    executor = model.executor(**types, num_threads=2)
    batch = [request(i, tokens(60, i), max_new_tokens=120) for i in range(6)]
    bench = bench_of(executor, num_pages=16)
    assert serve(bench, batch) == [truth.of(request) for request in batch]
    assert bench.engine.load().preemptions > 0


class NativeCase(Case):
    """A small server's life, as on the oracle, with seeded draws among its requests."""

    def __init__(self, seed: int, bench: Bench, truth: Truth) -> None:
        self._truth = truth
        super().__init__(seed, bench)

    def _params(self) -> SamplingParams:
        return params(self._random.randint(0, 9))

    def _expected(self, request: Request) -> list[Any]:
        return self._truth.of(request)

    def _seen(self, answer: Answer) -> list[Any]:
        return seen(answer)


@pytest.mark.parametrize("isa", supported_isas())
@pytest.mark.parametrize("pool", ["minimal", "tight", "ample"])
def test_answers_depend_on_nothing_but_the_tokens(model: Model, isa: str, pool: str) -> None:
    for seed in range(6):
        rng = random.Random(seed)
        weights, kv_dtype = rng.choice(TYPES)
        truth = model.truth(weights=weights, kv_dtype=kv_dtype, isa=isa)
        executor = model.executor(
            weights=weights,
            kv_dtype=kv_dtype,
            isa=isa,
            num_threads=rng.randint(1, 2),
            sharing=rng.random() < 0.5,
        )
        bench = bench_of(
            executor,
            num_pages=num_pages(PAGE, pool),
            max_step_tokens=rng.choice([1, 7, 64, UNLIMITED]),
            max_batch_size=6,
            prefix_caching=rng.random() < 0.8,
        )
        NativeCase(seed, bench, truth).run()
