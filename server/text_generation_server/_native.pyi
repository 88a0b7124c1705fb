"""The Rust side of the shard: page pool, prefix cache, sampler, reading of safetensors.

Arrays cross the border as buffers: any C-contiguous object of the stated item type is accepted
(numpy arrays, array.array, memoryview, bytes of packed little-endian items), and a wrong length,
type or alignment raises ValueError. Every class belongs to one thread at a time: calls from two
threads at once raise RuntimeError. Out-of-range ids raise IndexError or ValueError, never crash.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol, Self, final

from typing_extensions import Buffer

__all__ = [
    "Decoder",
    "DecoderOutline",
    "PageCache",
    "PageCounts",
    "PagePool",
    "Sampler",
    "Samples",
    "SamplingParams",
    "__version__",
    "available_cpus",
    "available_memory_bytes",
    "quantize",
    "safetensors_index",
]

__version__: str

def available_cpus() -> int:
    """Cores this process may use: the smaller of its affinity and of its cgroups' share of CPU time
    (v1 and v2) in whole cores, at least 1."""

def available_memory_bytes() -> int:
    """Memory that a new allocation may use: the smaller of the kernel's estimate of available
    memory and what is left of this process's cgroup limits (v1 and v2)."""

def safetensors_index(file: Buffer) -> list[tuple[str, str, tuple[int, ...], int, int]]:
    """The tensors of a safetensors file, given whole, in the order of their data: name, type as
    the format spells it ("F32", "BF16", "I32", ...), shape, and where in the file its bytes start
    and end.

    Checked: every tensor lies within the file and is as long as its type and shape say, none
    overlap, and no byte belongs to none. Raises ValueError for a file that is not so.
    """

def quantize(kind: str, shape: tuple[int, int], data: Buffer, to: str) -> bytes:
    """A matrix in another encoding: what `Decoder.load` would make of it, in rows that it takes as
    they are. kind: the type of the tensor; to: "int8" or "q4_1". Raises ValueError for weights that
    are not finite, and for rows that are no whole blocks. Releases the GIL."""

_Tensor = tuple[str, Sequence[int], Buffer, tuple[int, Buffer, Buffer] | None]

class _Plan(Protocol):
    """The arrays of a `StepPlan`; see there."""

    @property
    def copies(self) -> Buffer: ...
    @property
    def tokens(self) -> Buffer: ...
    @property
    def query_starts(self) -> Buffer: ...
    @property
    def context_lengths(self) -> Buffer: ...
    @property
    def page_starts(self) -> Buffer: ...
    @property
    def pages(self) -> Buffer: ...
    @property
    def sample_rows(self) -> Buffer: ...
    @property
    def sample_slots(self) -> Buffer: ...
    @property
    def mask_rows(self) -> Buffer: ...
    @property
    def masks(self) -> Buffer: ...
    @property
    def score_tokens(self) -> Buffer: ...
    @property
    def score_top_n(self) -> Buffer: ...

@final
class Decoder:
    """A model's packed weights, its compute threads, and the steps over them.

    The logits of a token are a pure function of model, weights and the tokens before it, to the
    bit, on one instruction set: whatever the chunks, the batch, the threads and the pages.
    """

    @staticmethod
    def load(
        spec: str,
        tensors: Mapping[str, _Tensor],
        *,
        num_threads: int,
        weights: str | None = None,
        kv_dtype: str = "bf16",
        isa: str | None = None,
        sharing: bool = True,
        progress: Callable[[int, int], object] | None = None,
    ) -> Decoder:
        """Pack the weights with all threads.

        spec: `DecoderSpec.resolved` as JSON. tensors: by name; type, shape, data [bytes] and for
        int4 group, scales and zeros (`RawTensor`), borrowed for the call. weights: "bf16", "int8"
        or "int4", None for what the tensors are. kv_dtype: "bf16" or "int8". isa: an instruction
        set other than the best one. sharing: whether sequences that begin with the same pages read
        them together, which changes no result. progress: told (layers packed, layers in all).
        Raises ValueError for what does not belong together or is not finite, NotImplementedError
        for heads that the kernels do not have.
        """

    @property
    def page_tokens(self) -> int: ...
    @property
    def page_bytes(self) -> int: ...
    @property
    def isa(self) -> str: ...
    @property
    def num_threads(self) -> int: ...
    @property
    def weights(self) -> str:
        """What the weights are packed to, for people to read."""

    @property
    def weight_bytes(self) -> int: ...
    def bind(self, pool: PagePool, num_slots: int) -> None:
        """Take the pages to compute in. Raises ValueError for pages of another size, and for more
        slots than memory has."""

    def unbind(self) -> None:
        """Let go of the pages."""

    def open(self, slot: int, params: SamplingParams, prompt: Buffer, generated: Buffer) -> None:
        """As `Sampler.open`."""

    def step(self, plan: _Plan) -> Samples:
        """Compute a step and draw from its sample rows. Raises ValueError for a plan that does not
        fit, before anything is written. Releases the GIL."""

    def logits(self, plan: _Plan) -> memoryview:
        """Compute a step and give its logits instead, f32[sample rows * vocabulary]. Nothing is
        drawn. Releases the GIL."""

@final
class DecoderOutline:
    """What a `Decoder` will be: its properties of the same names, before its weights are read."""

    def __new__(
        cls,
        spec: str,
        types: Mapping[str, str],
        *,
        weights: str | None = None,
        kv_dtype: str = "bf16",
    ) -> Self:
        """types: of the tensors by name, in the shapes that `spec` says; the rest as for
        `Decoder.load`, whose errors it raises, those about what tensors hold apart."""

    @property
    def page_tokens(self) -> int: ...
    @property
    def page_bytes(self) -> int: ...
    @property
    def isa(self) -> str: ...
    @property
    def weights(self) -> str: ...
    @property
    def weight_bytes(self) -> int: ...

@final
class PagePool:
    """All host KV pages, in one arena that is reserved at once and touched page by page.

    Exports a writable buffer of `num_pages * page_bytes` bytes (zero copy: `memoryview(pool)`,
    `torch.frombuffer(pool, ...)`). The memory lives as long as the pool or any view of it.
    """

    def __new__(cls, num_pages: int, page_bytes: int) -> Self:
        """Raises ValueError for a size of 0, MemoryError when the arena cannot be reserved."""

    @property
    def num_pages(self) -> int: ...
    @property
    def page_bytes(self) -> int: ...
    def __buffer__(self, flags: int, /) -> memoryview: ...

@final
class PageCounts:
    """Pages by state; free + cached + referenced == total at any time."""

    @property
    def total(self) -> int: ...
    @property
    def free(self) -> int:
        """In nobody's hands."""

    @property
    def cached(self) -> int:
        """Held by the tree alone: can be evicted."""

    @property
    def referenced(self) -> int:
        """Held by at least one open sequence."""

@final
class PageCache:
    """The prefix cache: a radix tree from token paths to KV pages, and the page tables of the
    sequences that run. Owns every page of the pool.

    A sequence's life: `open` (longest cached prefix, locked) → `reserve` (pages for tokens about to
    be computed) → `commit` (tokens whose KV a successful step has written enter the tree; then
    others may share them) → … → `close`. Pages with uncommitted tokens never enter the tree.

    A match may end inside a page. That page is shared and never written: the first `reserve`
    replaces it in this sequence's table by a fresh page and reports the copy the executor must make
    before the step computes.
    """

    def __new__(cls, pool: PagePool, page_tokens: int, enabled: bool = True) -> Self:
        """With enabled=False nothing is ever matched or kept: every page is freed at close."""

    @property
    def page_tokens(self) -> int: ...
    def open(self, tokens: Buffer, domains: Buffer, limit: int) -> int:
        """Start a sequence. tokens: u32[n]. domains: u64[2 * k], pairs of (domain, length) whose
        lengths are above 0 and add up to n. At most `limit` tokens are taken from the cache.
        Returns a handle, never reused."""

    def rematch(self, sequence: int) -> int:
        """Look again for a longer cached prefix of the tokens given to `open`, for a sequence that
        has reserved nothing. Returns the new cached length."""

    def cached_tokens(self, sequence: int) -> int:
        """Length of the prefix that `open` or the last `rematch` found, in tokens."""

    def committed_tokens(self, sequence: int) -> int:
        """Tokens of this sequence that are in the tree (cache off: that were committed)."""

    def node(self, sequence: int) -> int:
        """Identifies the tree position where the sequence's committed path ends: two sequences with
        equal nodes have equal committed paths (with the cache off no two have). Changes with
        commit and rematch."""

    def reserve(self, sequence: int, length: int) -> list[tuple[int, int]] | None:
        """Make the page table cover `length` tokens, evicting cached pages (least recently used
        leaf first, from its tail) when the free list is short. Returns the page copies (source,
        destination) the executor must make before it writes, or None, with nothing changed, when
        free and cached pages together are too few."""

    def commit(self, sequence: int, tokens: Buffer, domains: Buffer) -> None:
        """Tell that the KV of the sequence's next len(tokens) tokens is written, and put them under
        the sequence's path. tokens: u32[m], domains as in `open`. Raises ValueError when not so
        many tokens are reserved. Where the tree had the tokens already, the page table takes over
        its whole pages."""

    def pages(self, sequence: int) -> memoryview:
        """The page table, i32[ceil(reserved length / page_tokens)], as a copy."""

    def num_pages(self, sequence: int) -> int: ...
    def close(self, sequence: int) -> None:
        """End the sequence: unlock its path, free the pages that are not in the tree."""

    def counts(self) -> PageCounts: ...
    def evictions(self) -> int:
        """Pages evicted since the start."""

    def grow_reserve(self) -> bool:
        """Have the kernel give memory to some more of the pages that are used next, some 2 MB of
        them, so that a step need not wait for it. False, with nothing done, once 64 MB lie ready.
        Releases the GIL."""

    def clear(self) -> None:
        """Drop everything that no open sequence holds."""

    def check(self) -> None:
        """Verify every invariant: page states add up, reference counts equal the holders found by
        walking tree and sequences, no page is free and held, tree structure is sound. Raises
        AssertionError naming the first violation. For tests: walks everything."""

@final
class SamplingParams:
    """How a sequence's tokens are drawn; see `Sampling` in engine.proto for the meaning."""

    def __new__(
        cls,
        *,
        temperature: float = 0.0,
        top_k: int = 0,
        top_p: float = 1.0,
        typical_p: float = 1.0,
        repetition_penalty: float = 1.0,
        frequency_penalty: float = 0.0,
        presence_penalty: float = 0.0,
        seed: int = 0,
        top_n: int = 0,
        logit_bias: Sequence[tuple[int, float]] | None = None,
        watermark_gamma: float = 0.5,
        watermark_delta: float = 0.0,
    ) -> Self:
        """Raises ValueError naming field, value and range for values out of range or not finite."""
    @property
    def temperature(self) -> float: ...
    @property
    def top_k(self) -> int: ...
    @property
    def top_p(self) -> float: ...
    @property
    def typical_p(self) -> float: ...
    @property
    def repetition_penalty(self) -> float: ...
    @property
    def frequency_penalty(self) -> float: ...
    @property
    def presence_penalty(self) -> float: ...
    @property
    def seed(self) -> int: ...
    @property
    def top_n(self) -> int: ...
    @property
    def watermark_gamma(self) -> float: ...
    @property
    def watermark_delta(self) -> float: ...
    @property
    def logit_bias(self) -> list[tuple[int, float]]:
        """Token ids and what is added to their logits."""

@final
class Samples:
    """What `Sampler.sample` drew, one entry a row; all as copies in native byte order."""

    @property
    def token_ids(self) -> memoryview:
        """i32[rows]"""

    @property
    def logprobs(self) -> memoryview:
        """f32[rows], natural log of the probability under the unmodified logits"""

    @property
    def top_starts(self) -> memoryview:
        """i32[rows + 1]: the row's top tokens are top_ids[top_starts[r]:top_starts[r + 1]]"""

    @property
    def top_ids(self) -> memoryview: ...
    @property
    def top_logprobs(self) -> memoryview: ...

@final
class Sampler:
    """Draws tokens from logits. The state of a slot is its parameters and the token counts that the
    penalties need. A draw depends on the row's logits, the slot's state, the seed and the position,
    and on nothing else: not on the other rows, their number or their order."""

    def __new__(cls, vocab_size: int, num_slots: int) -> Self: ...
    def open(self, slot: int, params: SamplingParams, prompt: Buffer, generated: Buffer) -> None:
        """Start a slot anew. prompt, generated: u32 tokens the penalties count (ids >= vocab_size
        are a ValueError, in logit_bias too)."""

    def close(self, slot: int) -> None: ...
    def sample(
        self,
        logits: Buffer,
        slots: Buffer,
        positions: Buffer,
        mask_rows: Buffer | None = None,
        masks: Buffer | None = None,
    ) -> Samples:
        """logits: f32[rows, vocab_size] (read only); slots: i32[rows], each open, none twice;
        positions: i32[rows], the position in its sequence of the token to draw. mask_rows: i32[m],
        the rows whose tokens are restricted, none twice; masks: u32[m, ceil(vocab_size / 32)], bit
        id % 32 of word id // 32 allows a token. Counts the drawn tokens into the slots. A row
        without any finite logit of an allowed token raises ValueError, before any slot changes.
        Releases the GIL."""

    def score(self, logits: Buffer, tokens: Buffer, top_n: Buffer) -> Samples:
        """What each row of logits says about a token that is in the text already. logits:
        f32[rows, vocab_size]; tokens, top_n: u32[rows]. Releases the GIL."""
