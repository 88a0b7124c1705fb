"""Attention over paged keys and values on the CPU, in place in the page pool.

Letters: T tokens of a step, S sequences, N rows of a part, L keys, H query heads, K kv heads,
D cells of a head.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from text_generation_server.executor.step import StepPlan

# Rows that attend at once in a prefill: a block skips the keys that come after it, and the kernel
# loses nothing against larger blocks (measured at 7,000 keys: 32 rows 4.4 ms, 128 rows 19 ms).
_BLOCK_ROWS = 128


class CausalMasks:
    """Masks for blocks of consecutive rows, cut from one tensor that grows with the context."""

    def __init__(self, dtype: torch.dtype) -> None:
        """dtype: that of the queries."""
        self.dtype = dtype
        self._context = 0
        self._mask = torch.empty(0, dtype=dtype)

    def block(self, rows: int, context: int) -> Tensor:
        """[rows, context + rows]: row i sees keys 0 to context + i, the rest is -inf."""
        if context > self._context or not self._mask.numel():
            self._grow(max(context, 2 * self._context))
        # Row i of the large mask sees columns 0 to _context + i: a shift to the left makes the
        # context shorter.
        return self._mask[:rows, self._context - context : self._context + rows]

    def _grow(self, context: int) -> None:
        shape = (_BLOCK_ROWS, context + _BLOCK_ROWS)
        hidden = torch.full(shape, float("-inf"), dtype=self.dtype)
        self._mask = hidden.triu_(context + 1)
        self._context = context


def _gather(cache: Tensor, pages: Tensor) -> tuple[Tensor, Tensor]:
    """cache: one layer's [pages, 2, page_tokens, K, D]; pages: i64[P]. Returns contiguous copies of
    keys and values, [P * page_tokens, K, D] each."""
    keys, values = (cache[:, i].index_select(0, pages).flatten(0, 1) for i in (0, 1))
    return keys, values


class _Part(Protocol):
    """Some rows of a step that attend together."""

    def attend(self, cache: Tensor, q: Tensor, out: Tensor) -> None:
        """cache: one layer's [pages, 2, page_tokens, K, D]; q, out: [T, H, D]."""
        ...


@dataclass(frozen=True, slots=True)
class _Prefill:
    """Consecutive tokens of one sequence."""

    first_row: int
    rows: int
    context: int
    pages: Tensor
    masks: CausalMasks

    def attend(self, cache: Tensor, q: Tensor, out: Tensor) -> None:
        gathered = _gather(cache, self.pages)
        keys, values = (cells.transpose(0, 1) for cells in gathered)  # [K, L, D]
        for start in range(0, self.rows, _BLOCK_ROWS):
            stop = min(start + _BLOCK_ROWS, self.rows)
            block = slice(self.first_row + start, self.first_row + stop)
            visible = slice(0, self.context + stop)
            out[block] = scaled_dot_product_attention(
                q[block].transpose(0, 1)[None],
                keys[None, :, visible],
                values[None, :, visible],
                attn_mask=self.masks.block(stop - start, self.context + start),
                enable_gqa=True,
            )[0].transpose(0, 1)


@dataclass(frozen=True, slots=True)
class _Decode:
    """Single tokens of sequences with about as many pages each, padded to the longest."""

    rows: Tensor
    """[N]"""
    pages: Tensor
    """[N * most pages]; padding names any page."""
    padding: Tensor
    """Indices into the N * L gathered cells of those beyond their sequence's end."""
    mask: Tensor
    """[N, 1, 1, L]"""

    def attend(self, cache: Tensor, q: Tensor, out: Tensor) -> None:
        keys, values = map(self._padded, _gather(cache, self.pages))
        attended = scaled_dot_product_attention(
            q[self.rows][:, :, None], keys, values, attn_mask=self.mask, enable_gqa=True
        )
        out[self.rows] = attended[:, :, 0]

    def _padded(self, cells: Tensor) -> Tensor:
        """[N * L, K, D] to [N, K, L, D]."""
        # The mask alone would let a NaN that somebody left in an unused cell through.
        cells.index_fill_(0, self.padding, 0.0)
        return cells.view(len(self.rows), -1, *cells.shape[1:]).transpose(1, 2)


class PagedAttention:
    """The `Attention` of one step: stores the step's keys and values, then attends by sequence."""

    def __init__(self, pages: Tensor, plan: StepPlan, masks: CausalMasks) -> None:
        """pages: [num_pages, layers, 2, page_tokens, K, D], written in place. masks are kept from
        step to step."""
        self._pages = pages
        page_tokens = pages.shape[3]
        lengths = np.diff(plan.query_starts)
        shift = plan.context_lengths - plan.query_starts[:-1]
        positions = np.arange(len(plan.tokens)) + np.repeat(shift, lengths)
        page_of_row = np.repeat(plan.page_starts[:-1], lengths) + positions // page_tokens
        self.positions = torch.from_numpy(positions)
        """i64[T] of the step's tokens in their sequences."""
        self._row_pages = torch.from_numpy(plan.pages[page_of_row].astype(np.int64))
        self._row_cells = torch.from_numpy(positions % page_tokens)
        self._parts = _parts(plan, lengths, page_tokens, masks)

    def __call__(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        cache = self._pages[:, layer]
        cache[self._row_pages, 0, self._row_cells] = k
        cache[self._row_pages, 1, self._row_cells] = v
        out = torch.empty_like(q)
        for part in self._parts:
            part.attend(cache, q, out)
        return out


def _parts(
    plan: StepPlan, lengths: npt.NDArray[np.int32], page_tokens: int, masks: CausalMasks
) -> list[_Part]:
    decodes: dict[int, list[int]] = {}
    parts: list[_Part] = []
    for sequence, rows in enumerate(lengths.tolist()):
        context = int(plan.context_lengths[sequence])
        if rows == 1:
            # Sequences that pad to the same power of two waste at most half of what they read.
            decodes.setdefault((context // page_tokens).bit_length(), []).append(sequence)
        elif rows > 1:
            pages = _used_pages(plan, sequence, context + rows, page_tokens)
            first_row = int(plan.query_starts[sequence])
            parts.append(_Prefill(first_row, rows, context, torch.from_numpy(pages), masks))
    dtype = masks.dtype
    return [*parts, *(_decode_part(plan, group, page_tokens, dtype) for group in decodes.values())]


def _decode_part(
    plan: StepPlan, sequences: list[int], page_tokens: int, dtype: torch.dtype
) -> _Decode:
    lengths = plan.context_lengths[sequences] + 1
    most = -(-int(lengths.max()) // page_tokens)
    pages = np.zeros((len(sequences), most), np.int64)
    for row, (sequence, length) in enumerate(zip(sequences, lengths.tolist(), strict=True)):
        used = _used_pages(plan, sequence, length, page_tokens)
        pages[row, : len(used)] = used
    unused = torch.from_numpy(np.arange(most * page_tokens) >= lengths[:, None])  # [N, L]
    mask = torch.zeros(unused.shape, dtype=dtype).masked_fill_(unused, float("-inf"))
    return _Decode(
        rows=torch.from_numpy(plan.query_starts[sequences].astype(np.int64)),
        pages=torch.from_numpy(pages.reshape(-1)),
        padding=unused.flatten().nonzero().flatten(),
        mask=mask[:, None, None],
    )


def _used_pages(
    plan: StepPlan, sequence: int, length: int, page_tokens: int
) -> npt.NDArray[np.int64]:
    first = int(plan.page_starts[sequence])
    return plan.pages[first : first - (-length // page_tokens)].astype(np.int64)
