"""The `Executor` in PyTorch on the CPU: plain and correct, the reference for faster ones.

Pages hold [layers, 2 (keys, values), page_tokens, kv_heads, head_dim] in the model's dtype and are
read and written in place in the pool. Sampling is the native sampler's.
"""

import hashlib
import math
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from text_generation_server._native import PagePool, Sampler
from text_generation_server.executor.executor_plan import ExecutorPlan
from text_generation_server.executor.sampling import draw
from text_generation_server.executor.step import (
    ExecutorFacts,
    Float32Array,
    Int32Array,
    StepPlan,
    StepResult,
)
from text_generation_server.executor.ticket import CompletedTicket
from text_generation_server.executor.torch_attention import LayerAttention, PagedAttention
from text_generation_server.executor.torch_model import Decoder
from text_generation_server.executor.torch_weights import load_weights
from text_generation_server.models.digest import weights_digest
from text_generation_server.models.errors import ModelError
from text_generation_server.models.raw_tensor import TensorType
from text_generation_server.models.source import ModelSource
from text_generation_server.models.spec import DecoderSpec
from text_generation_server.models.weights import stored_tensors

DEFAULT_PAGE_TOKENS = 32
_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


class TorchExecutor:
    """Runs steps of one model; see `Executor`."""

    def __init__(self, decoder: Decoder, facts: ExecutorFacts) -> None:
        self._decoder = decoder
        self.facts = facts
        self._layers = LayerAttention(decoder.spec, decoder.dtype)
        self._pages: Tensor | None = None
        self._sampler: Sampler | None = None

    def bind(self, pool: PagePool, num_slots: int) -> None:
        """See `Executor.bind`. Raises ValueError for a pool of another page size."""
        if pool.page_bytes != self.facts.page_bytes:
            raise ValueError(
                f"the pool's pages have {pool.page_bytes} bytes, must be {self.facts.page_bytes}"
            )
        spec = self._decoder.spec
        flat = torch.frombuffer(pool, dtype=self._decoder.dtype)
        page_shape = (2, self.facts.page_tokens, spec.num_kv_heads, spec.head_dim)
        self._pages = flat.view(pool.num_pages, spec.num_layers, *page_shape)
        self._sampler = Sampler(spec.vocab_size, num_slots)

    def submit(self, plan: StepPlan) -> CompletedTicket:
        """See `Executor.submit`; runs the step at once."""
        return CompletedTicket(self._run(plan))

    def logits(self, plan: StepPlan) -> Float32Array:
        """Compute a step and give its logits, [R, vocab_size]. Nothing is drawn."""
        return self._compute(plan)[0]

    def close(self) -> None:
        """See `Executor.close`: lets go of the pool's memory."""
        self._pages = None
        self._sampler = None

    def _run(self, plan: StepPlan) -> StepResult:
        assert self._sampler is not None, "submit before bind"
        logits, positions = self._compute(plan)
        return draw(self._sampler, plan, logits, positions + 1)

    @torch.inference_mode()
    def _compute(self, plan: StepPlan) -> tuple[Float32Array, Int32Array]:
        """Logits of the sample rows and their positions."""
        assert self._pages is not None, "submit before bind"
        for source, destination in plan.copies.tolist():
            self._pages[destination] = self._pages[source]
        attention = PagedAttention(self._pages, plan, self._layers)
        tokens = torch.from_numpy(plan.tokens.astype(np.int64))
        hidden = self._decoder.forward(tokens, attention.positions, attention)
        rows = torch.from_numpy(plan.sample_rows.astype(np.int64))
        logits = self._decoder.logits(hidden[rows])
        return logits.numpy(), attention.positions[rows].numpy().astype(np.int32)


def _facts(spec: DecoderSpec, dtype: torch.dtype, page_tokens: int | None) -> ExecutorFacts:
    page_tokens = DEFAULT_PAGE_TOKENS if page_tokens is None else page_tokens
    name = str(dtype).removeprefix("torch.")
    cells = spec.num_layers * 2 * page_tokens * spec.num_kv_heads * spec.head_dim
    return ExecutorFacts(
        name="torch",
        device="cpu",
        hardware=_hardware(),
        weights=name,
        kv_dtype=name,
        fingerprint="",
        vocab_size=spec.vocab_size,
        context_length=spec.max_positions,
        page_tokens=page_tokens,
        page_bytes=cells * dtype.itemsize,
    )


def _fingerprint(source: ModelSource, decoder: Decoder, facts: ExecutorFacts) -> str:
    description = decoder.spec.resolved(decoder.total_tokens)
    digest = weights_digest(source)
    numerics = f"torch {torch.__version__} {facts.weights} {facts.page_tokens}"
    return hashlib.sha256(f"{numerics} {description} {digest}".encode()).hexdigest()


def _hardware() -> str:
    instructions = torch.backends.cpu.get_cpu_capability().lower()
    return f"{instructions}, {torch.get_num_threads()} threads"


def plan_torch_executor(
    source: ModelSource,
    dtype: str,
    page_tokens: int | None = None,
    num_threads: int | None = None,
    total_tokens: int | None = None,
) -> ExecutorPlan[TorchExecutor]:
    """The executor, from the headers of the model's files.

    dtype: "float32", "bfloat16" or "float16", of weights and KV. page_tokens: None means
    `DEFAULT_PAGE_TOKENS`. num_threads: of torch's kernels, for the whole process; None leaves
    torch's choice. total_tokens: the longest sequence that will be served, on which some ropes
    depend; None: the model's longest. Raises ModelError.
    """
    if dtype not in _DTYPES:
        raise ModelError(f"the dtype {dtype!r} is not supported, only {', '.join(_DTYPES)}")
    if num_threads is not None:
        torch.set_num_threads(num_threads)
    spec, kind = source.spec(), _DTYPES[dtype]
    facts = _facts(spec, kind, page_tokens)
    tensors = stored_tensors(source, spec)
    if any(tensor.type is TensorType.INT8 for tensor in tensors):
        raise ModelError(
            f"{source.path} was written by `text-generation-server quantize`, whose int8 only the "
            "native executor reads: serve the model's unquantized folder, or --executor native"
        )
    shapes = [tensor.shape for tensor in tensors]

    def load() -> TorchExecutor:
        decoder = Decoder(spec, load_weights(source, spec, kind), total_tokens)
        fingerprint = _fingerprint(source, decoder, facts)
        return TorchExecutor(decoder, replace(facts, fingerprint=fingerprint))

    return ExecutorPlan(facts, sum(map(math.prod, shapes)) * kind.itemsize, load)


def load_torch_executor(
    source: ModelSource,
    dtype: str,
    page_tokens: int | None = None,
    num_threads: int | None = None,
    total_tokens: int | None = None,
) -> TorchExecutor:
    """Load the weights and build the executor: see `plan_torch_executor`."""
    return plan_torch_executor(source, dtype, page_tokens, num_threads, total_tokens).load()
