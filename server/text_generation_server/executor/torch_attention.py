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
from text_generation_server.executor.torch_model import soft_capped
from text_generation_server.models.spec import DecoderSpec

# Rows that attend at once in a prefill: a block skips the keys that come after it, and the kernel
# loses nothing against larger blocks (measured at 7,000 keys: 32 rows 4.4 ms, 128 rows 19 ms).
_BLOCK_ROWS = 128


class CausalMasks:
    """Masks for blocks of consecutive rows, cut from one tensor that grows with the context."""

    def __init__(self, dtype: torch.dtype, window: int | None = None) -> None:
        """dtype: that of the queries. window: keys that a row sees at most, None: all."""
        self.dtype = dtype
        self.window = window
        self._context = 0
        self._mask = torch.empty(0, dtype=dtype)

    def first_key(self, position: int) -> int:
        """Position of the first key that a row at `position` sees."""
        return 0 if self.window is None else max(0, position - self.window + 1)

    def block(self, rows: int, context: int) -> Tensor:
        """[rows, context + rows]: row i sees keys 0 to context + i, or the last `window` of them,
        the rest is -inf."""
        if context > self._context or not self._mask.numel():
            self._grow(max(context, 2 * self._context))
        # Row i of the large mask sees columns up to _context + i: a shift to the left makes the
        # context shorter.
        return self._mask[:rows, self._context - context : self._context + rows]

    def _grow(self, context: int) -> None:
        shape = (_BLOCK_ROWS, context + _BLOCK_ROWS)
        hidden = torch.full(shape, float("-inf"), dtype=self.dtype)
        self._mask = hidden.triu(context + 1)
        if self.window is not None:
            self._mask += hidden.tril_(context - self.window)
        self._context = context


@dataclass(frozen=True, slots=True)
class Scoring:
    """How queries and keys become weights of values."""

    scale: float
    softcap: float | None

    def attend(self, q: Tensor, keys: Tensor, values: Tensor, mask: Tensor) -> Tensor:
        """q: [N, H, rows, D]; keys, values: [N, K, L, D]; mask, added to the scores: [rows, L] or
        [N, 1, rows, L]. Returns [N, H, rows, D]."""
        if self.softcap is None:
            return scaled_dot_product_attention(
                q, keys, values, attn_mask=mask, scale=self.scale, enable_gqa=True
            )
        groups = q.shape[1] // keys.shape[1]
        keys, values = (cells.repeat_interleave(groups, dim=1) for cells in (keys, values))
        scores = soft_capped((q @ keys.transpose(2, 3)).float() * self.scale, self.softcap)
        return (scores + mask).softmax(-1).to(values.dtype) @ values


def _gather(cache: Tensor, pages: Tensor) -> tuple[Tensor, Tensor]:
    """cache: one layer's [pages, 2, page_tokens, K, D]; pages: i64[P]. Returns contiguous copies of
    keys and values, [P * page_tokens, K, D] each."""
    keys, values = (cache[:, i].index_select(0, pages).flatten(0, 1) for i in (0, 1))
    return keys, values


class _Part(Protocol):
    """Some rows of a step that attend together."""

    def attend(self, cache: Tensor, q: Tensor, out: Tensor, scoring: Scoring) -> None:
        """cache: one layer's [pages, 2, page_tokens, K, D]; q, out: [T, H, D]."""
        ...


@dataclass(frozen=True, slots=True)
class _Prefill:
    """Consecutive tokens of one sequence."""

    first_row: int
    rows: int
    context: int
    pages: Tensor
    first_cell: int
    """Position of the first cell of `pages`."""
    masks: CausalMasks

    def attend(self, cache: Tensor, q: Tensor, out: Tensor, scoring: Scoring) -> None:
        gathered = _gather(cache, self.pages)
        keys, values = (cells.transpose(0, 1)[None] for cells in gathered)  # [1, K, L, D]
        for start in range(0, self.rows, _BLOCK_ROWS):
            stop = min(start + _BLOCK_ROWS, self.rows)
            block = slice(self.first_row + start, self.first_row + stop)
            first_key = self.masks.first_key(self.context + start)
            visible = slice(first_key - self.first_cell, self.context + stop - self.first_cell)
            out[block] = scoring.attend(
                q[block].transpose(0, 1)[None],
                keys[:, :, visible],
                values[:, :, visible],
                self.masks.block(stop - start, self.context + start - first_key),
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

    def attend(self, cache: Tensor, q: Tensor, out: Tensor, scoring: Scoring) -> None:
        keys, values = map(self._padded, _gather(cache, self.pages))
        out[self.rows] = scoring.attend(q[self.rows][:, :, None], keys, values, self.mask)[:, :, 0]

    def _padded(self, cells: Tensor) -> Tensor:
        """[N * L, K, D] to [N, K, L, D]."""
        # The mask alone would let a NaN that somebody left in an unused cell through.
        cells.index_fill_(0, self.padding, 0.0)
        return cells.view(len(self.rows), -1, *cells.shape[1:]).transpose(1, 2)


class LayerAttention:
    """What of a decoder's attention stays the same from step to step."""

    def __init__(self, spec: DecoderSpec, dtype: torch.dtype) -> None:
        """dtype: that of queries, keys and values."""
        self.scoring = Scoring(spec.attention_scale, spec.attention_softcap)
        self.windows = spec.layer_windows
        self.masks = [CausalMasks(dtype, window) for window in dict.fromkeys(self.windows)]


class PagedAttention:
    """The `Attention` of one step: stores the step's keys and values, then attends by sequence."""

    def __init__(self, pages: Tensor, plan: StepPlan, layers: LayerAttention) -> None:
        """pages: [num_pages, layers, 2, page_tokens, K, D], written in place."""
        self._pages = pages
        self._layers = layers
        page_tokens = pages.shape[3]
        lengths = np.diff(plan.query_starts)
        shift = plan.context_lengths - plan.query_starts[:-1]
        positions = np.arange(len(plan.tokens)) + np.repeat(shift, lengths)
        page_of_row = np.repeat(plan.page_starts[:-1], lengths) + positions // page_tokens
        self.positions = torch.from_numpy(positions)
        """i64[T] of the step's tokens in their sequences."""
        self._row_pages = torch.from_numpy(plan.pages[page_of_row].astype(np.int64))
        self._row_cells = torch.from_numpy(positions % page_tokens)
        self._parts = {
            masks.window: _parts(plan, lengths, page_tokens, masks) for masks in layers.masks
        }

    def __call__(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        cache = self._pages[:, layer]
        cache[self._row_pages, 0, self._row_cells] = k
        cache[self._row_pages, 1, self._row_cells] = v
        out = torch.empty_like(q)
        for part in self._parts[self._layers.windows[layer]]:
            part.attend(cache, q, out, self._layers.scoring)
        return out


def _parts(
    plan: StepPlan, lengths: npt.NDArray[np.int32], page_tokens: int, masks: CausalMasks
) -> list[_Part]:
    decodes: dict[int, list[int]] = {}
    parts: list[_Part] = []
    for sequence, rows in enumerate(lengths.tolist()):
        context = int(plan.context_lengths[sequence])
        first_page = masks.first_key(context) // page_tokens
        if rows == 1:
            # Sequences that pad to the same power of two waste at most half of what they read.
            size = (context // page_tokens - first_page).bit_length()
            decodes.setdefault(size, []).append(sequence)
        elif rows > 1:
            pages = _pages(plan, sequence, first_page, -(-(context + rows) // page_tokens))
            first_row, first_cell = int(plan.query_starts[sequence]), first_page * page_tokens
            parts.append(
                _Prefill(first_row, rows, context, torch.from_numpy(pages), first_cell, masks)
            )
    return [*parts, *(_decode_part(plan, group, page_tokens, masks) for group in decodes.values())]


def _decode_part(
    plan: StepPlan, sequences: list[int], page_tokens: int, masks: CausalMasks
) -> _Decode:
    last_keys = plan.context_lengths[sequences].astype(np.int64)
    first_keys = np.array([masks.first_key(key) for key in last_keys.tolist()])
    first_pages, end_pages = first_keys // page_tokens, last_keys // page_tokens + 1
    most = int((end_pages - first_pages).max())
    pages = np.zeros((len(sequences), most), np.int64)
    for row, sequence in enumerate(sequences):
        used = _pages(plan, sequence, int(first_pages[row]), int(end_pages[row]))
        pages[row, : len(used)] = used
    cells = first_pages[:, None] * page_tokens + np.arange(most * page_tokens)  # [N, L]
    unused = torch.from_numpy(cells > last_keys[:, None])
    hidden = unused | torch.from_numpy(cells < first_keys[:, None])
    mask = torch.zeros(hidden.shape, dtype=masks.dtype).masked_fill_(hidden, float("-inf"))
    return _Decode(
        rows=torch.from_numpy(plan.query_starts[sequences].astype(np.int64)),
        pages=torch.from_numpy(pages.reshape(-1)),
        padding=unused.flatten().nonzero().flatten(),
        mask=mask[:, None, None],
    )


def _pages(plan: StepPlan, sequence: int, start: int, stop: int) -> npt.NDArray[np.int64]:
    """Ids of pages start to stop of a sequence."""
    first = int(plan.page_starts[sequence])
    return plan.pages[first + start : first + stop].astype(np.int64)
