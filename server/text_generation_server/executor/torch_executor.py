"""The `Executor` in PyTorch on the CPU: plain and correct, the reference for faster ones.

Pages hold [layers, 2 (keys, values), page_tokens, kv_heads, head_dim] in the model's dtype and are
read and written in place in the pool. Sampling is the native sampler's.
"""

import hashlib
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from text_generation_server._native import PagePool, Sampler
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
from text_generation_server.models.source import ModelSource

DEFAULT_PAGE_TOKENS = 32
_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A decoder with its weights in memory, and what tells it from others."""

    decoder: Decoder
    digest: str
    """Of the files it was loaded from."""


class TorchExecutor:
    """Runs steps of one model; see `Executor`."""

    def __init__(
        self,
        model: LoadedModel,
        page_tokens: int | None = None,
        num_threads: int | None = None,
    ) -> None:
        """page_tokens: None means `DEFAULT_PAGE_TOKENS`.
        num_threads: of torch's kernels, for the whole process; None leaves torch's choice."""
        if num_threads is not None:
            torch.set_num_threads(num_threads)
        self._decoder = model.decoder
        self.facts = _facts(model, DEFAULT_PAGE_TOKENS if page_tokens is None else page_tokens)
        self._layers = LayerAttention(model.decoder.spec, model.decoder.dtype)
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


def _facts(model: LoadedModel, page_tokens: int) -> ExecutorFacts:
    spec, dtype = model.decoder.spec, model.decoder.dtype
    name = str(dtype).removeprefix("torch.")
    cells = spec.num_layers * 2 * page_tokens * spec.num_kv_heads * spec.head_dim
    description = spec.resolved(model.decoder.total_tokens)
    identity = f"torch {torch.__version__} {name} {page_tokens} {description} {model.digest}"
    return ExecutorFacts(
        name="torch",
        device="cpu",
        hardware=_hardware(),
        weights=name,
        kv_dtype=name,
        fingerprint=hashlib.sha256(identity.encode()).hexdigest(),
        vocab_size=spec.vocab_size,
        context_length=spec.max_positions,
        page_tokens=page_tokens,
        page_bytes=cells * dtype.itemsize,
    )


def _hardware() -> str:
    instructions = torch.backends.cpu.get_cpu_capability().lower()
    return f"{instructions}, {torch.get_num_threads()} threads"


def load_torch_executor(
    source: ModelSource,
    dtype: str,
    page_tokens: int | None = None,
    num_threads: int | None = None,
    total_tokens: int | None = None,
) -> TorchExecutor:
    """Load the weights and build the executor.

    dtype: "float32", "bfloat16" or "float16", of weights and KV. total_tokens: the longest
    sequence that will be served, on which some ropes depend; None: the model's longest.
    Raises ModelError.
    """
    if dtype not in _DTYPES:
        raise ModelError(f"the dtype {dtype!r} is not supported, only {', '.join(_DTYPES)}")
    spec = source.spec()
    decoder = Decoder(spec, load_weights(source, spec, _DTYPES[dtype]), total_tokens)
    model = LoadedModel(decoder, weights_digest(source))
    return TorchExecutor(model, page_tokens, num_threads)
