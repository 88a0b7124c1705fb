"""The embedded model on the native executor, through the engine: tokens and logprobs of a request
are the same to the bit, however it was served."""

import numpy as np
import pytest
from engine_harness import UNLIMITED, Answer, Bench, Shape, make_request
from native_decoder import make_executor
from text_generation_server._native import SamplingParams
from text_generation_server.engine.request import Request
from text_generation_server.executor.native_executor import NativeExecutor
from text_generation_server.executor.step import Uint32Array
from text_generation_server.models.embedded import EMBEDDED_MODEL
from text_generation_server.models.source import resolve

LENGTH = 300
"""Enough for threads to compute their rows apart, and across the border of a block of 256 keys."""

Seen = list[tuple[int, float, tuple[tuple[int, float], ...]]]


def tokens(length: int, seed: int) -> Uint32Array:
    return np.random.default_rng(seed).integers(100, 40_000, length).astype(np.uint32)


def request(number: int, prompt: Uint32Array, max_new_tokens: int = 4) -> Request:
    return make_request(number, prompt, max_new_tokens, params=SamplingParams(top_n=3))


def bench_of(executor: NativeExecutor, max_step_tokens: int = UNLIMITED) -> Bench:
    return Bench(Shape(num_pages=60, max_step_tokens=max_step_tokens), executor=executor)


def serve(bench: Bench, *requests: Request) -> list[Seen]:
    answers: list[Answer] = [bench.admit(request) for request in requests]
    bench.run()
    return [[(t.token_id, t.logprob, t.top) for t in answer.tokens] for answer in answers]


@pytest.fixture(scope="module", params=["bf16", "int8"])
def kv_dtype(request: pytest.FixtureRequest) -> str:
    kv_dtype: str = request.param
    return kv_dtype


@pytest.fixture(scope="module")
def executor(kv_dtype: str) -> NativeExecutor:
    return make_executor(resolve(EMBEDDED_MODEL), num_threads=2, kv_dtype=kv_dtype)


@pytest.fixture(scope="module")
def truth(kv_dtype: str) -> Seen:
    """The request alone, cold, in one chunk, on one thread."""
    alone = make_executor(resolve(EMBEDDED_MODEL), num_threads=1, kv_dtype=kv_dtype, sharing=False)
    [answer] = serve(bench_of(alone), request(0, tokens(LENGTH, 0)))
    return answer


@pytest.mark.parametrize("chunk", [50, 192, UNLIMITED])
def test_chunks_change_no_bit(executor: NativeExecutor, truth: Seen, chunk: int) -> None:
    bench = bench_of(executor, max_step_tokens=chunk)
    assert serve(bench, request(0, tokens(LENGTH, 0))) == [truth]


def test_a_hit_changes_no_bit(executor: NativeExecutor, truth: Seen) -> None:
    prompt = tokens(LENGTH, 0)
    for split in (1, 33, 256, LENGTH - 1):
        bench = bench_of(executor)
        serve(bench, request(1, prompt[:split], max_new_tokens=1))
        assert serve(bench, request(0, prompt)) == [truth], split
        assert bench.answers[0].completion.receipt.cached_tokens == split


def test_neighbours_change_no_bit(executor: NativeExecutor, truth: Seen) -> None:
    others = [request(number, tokens(40 * number, number)) for number in (1, 2, 3)]
    bench = bench_of(executor, max_step_tokens=100)
    assert serve(bench, others[0], request(0, tokens(LENGTH, 0)), *others[1:])[1] == truth
