"""The `Executor` of CPUs: a whole step in one call of the native decoder, which releases the GIL.

Pages hold what the native kernels make of them (`server/kernels/src/attention/layout.rs`).
"""

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
from tqdm import tqdm

from text_generation_server._native import (
    Decoder,
    DecoderOutline,
    PagePool,
    __version__,
    available_cpus,
)
from text_generation_server.errors import ConfigError
from text_generation_server.executor.executor_plan import ExecutorPlan
from text_generation_server.executor.native_options import NativeOptions
from text_generation_server.executor.sampling import step_result
from text_generation_server.executor.step import (
    ExecutorFacts,
    Float32Array,
    StepPlan,
    StepResult,
)
from text_generation_server.executor.ticket import CompletedTicket
from text_generation_server.models.digest import weights_digest
from text_generation_server.models.errors import ModelError, UnsupportedModelError
from text_generation_server.models.mapped_file import Bytes
from text_generation_server.models.raw_tensor import RawTensor
from text_generation_server.models.source import ModelSource
from text_generation_server.models.spec import DecoderSpec
from text_generation_server.models.weights import raw_tensors, stored_tensors

_Groups = tuple[int, Bytes, Bytes]


class NativeExecutor:
    """Runs steps of one model; see `Executor`."""

    def __init__(self, decoder: Decoder, facts: ExecutorFacts) -> None:
        self._decoder = decoder
        self.facts = facts

    @property
    def weight_bytes(self) -> int:
        """Memory of the packed weights."""
        return self._decoder.weight_bytes

    def bind(self, pool: PagePool, num_slots: int) -> None:
        """See `Executor.bind`. Raises ValueError for a pool of another page size."""
        self._decoder.bind(pool, num_slots)

    def submit(self, plan: StepPlan) -> CompletedTicket:
        """See `Executor.submit`; runs the step at once."""
        return CompletedTicket(self._run(plan))

    def logits(self, plan: StepPlan) -> Float32Array:
        """Compute a step and give its logits, [R, vocab_size]. Nothing is drawn."""
        logits = np.frombuffer(self._decoder.logits(plan), np.float32)
        return logits.reshape(len(plan.sample_rows), self.facts.vocab_size)

    def close(self) -> None:
        """See `Executor.close`: lets go of the pool's memory."""
        self._decoder.unbind()

    def _run(self, plan: StepPlan) -> StepResult:
        for opening in plan.slots_opened:
            self._decoder.open(opening.slot, opening.params, opening.prompt, opening.generated)
        return step_result(self._decoder.step(plan))


def plan_native_executor(
    source: ModelSource, options: NativeOptions
) -> ExecutorPlan[NativeExecutor]:
    """The executor, from the headers of the model's files. Raises ModelError and ConfigError."""
    spec = source.spec()
    description = json.dumps(spec.resolved(options.max_total_tokens or spec.max_positions))
    outline = _outline(source, spec, description, options)
    if options.page_tokens not in (None, outline.page_tokens):
        raise ConfigError(
            f"page_tokens is {options.page_tokens}, but pages of the native executor have "
            f"{outline.page_tokens}: leave it out"
        )
    facts = _facts(spec, options, outline)

    def load() -> NativeExecutor:
        decoder = _load(source, spec, description, options)
        fingerprint = _fingerprint(source, description, options, decoder)
        return NativeExecutor(decoder, replace(facts, fingerprint=fingerprint))

    return ExecutorPlan(facts, outline.weight_bytes, load)


def load_native_executor(source: ModelSource, options: NativeOptions) -> NativeExecutor:
    """Map the weights, pack them and build the executor. Raises ModelError and ConfigError."""
    return plan_native_executor(source, options).load()


def _outline(
    source: ModelSource, spec: DecoderSpec, description: str, options: NativeOptions
) -> DecoderOutline:
    types: dict[str, str] = {tensor.name: tensor.type for tensor in stored_tensors(source, spec)}
    with _load_errors(source):
        return DecoderOutline(
            description, types, weights=options.weights, kv_dtype=options.kv_dtype
        )


def _load(
    source: ModelSource, spec: DecoderSpec, description: str, options: NativeOptions
) -> Decoder:
    tensors = {tensor.name: _given(tensor) for tensor in raw_tensors(source, spec)}
    # None: no bar where nobody watches a terminal.
    with (
        tqdm(
            total=spec.num_layers, desc="packing weights", unit="layer", leave=False, disable=None
        ) as bar,
        _load_errors(source),
    ):
        return Decoder.load(
            description,
            tensors,
            weights=options.weights,
            kv_dtype=options.kv_dtype,
            num_threads=_num_threads(options),
            progress=lambda done, total: bar.update(done - bar.n),
        )


@contextmanager
def _load_errors(source: ModelSource) -> Iterator[None]:
    """What the decoder says of a model, as errors about the model."""
    try:
        yield
    except NotImplementedError as error:
        raise UnsupportedModelError(f"{source.path} cannot be loaded: {error}") from error
    except ValueError as error:
        raise ModelError(f"{source.path} cannot be loaded: {error}") from error


def _num_threads(options: NativeOptions) -> int:
    return options.num_threads or available_cpus()


def _given(tensor: RawTensor) -> tuple[str, tuple[int, ...], Bytes, _Groups | None]:
    """As `Decoder.load` takes it."""
    groups = tensor.groups
    if groups is None:
        return (tensor.type, tensor.shape, tensor.data, None)
    scales = (groups.group, groups.scales.view(np.uint8), groups.zeros)
    return (tensor.type, tensor.shape, tensor.data, scales)


def _facts(spec: DecoderSpec, options: NativeOptions, outline: DecoderOutline) -> ExecutorFacts:
    num_threads = _num_threads(options)
    threads = f"{num_threads} thread{'s' * (num_threads > 1)}"
    return ExecutorFacts(
        name="native",
        device="cpu",
        hardware=f"{outline.isa}, {threads}",
        weights=outline.weights,
        kv_dtype=options.kv_dtype,
        fingerprint="",
        vocab_size=spec.vocab_size,
        context_length=spec.max_positions,
        page_tokens=outline.page_tokens,
        page_bytes=outline.page_bytes,
    )


def _fingerprint(
    source: ModelSource, description: str, options: NativeOptions, decoder: Decoder
) -> str:
    identity = [
        f"native {__version__}",
        decoder.isa,
        decoder.weights,
        options.kv_dtype,
        description,
        weights_digest(source, options.cache_dir),
    ]
    return hashlib.sha256("\n".join(identity).encode()).hexdigest()
