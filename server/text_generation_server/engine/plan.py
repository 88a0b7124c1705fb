"""Turns the chunks of a step into the flat arrays of a `StepPlan`."""

from collections.abc import Iterable
from itertools import accumulate
from typing import Any

import numpy as np
import numpy.typing as npt

from text_generation_server._native import PageCache
from text_generation_server.engine.grammar import Constraint
from text_generation_server.engine.scheduler import Chunk
from text_generation_server.executor.step import Int32Array, StepPlan, Uint32Array


def build_plan(chunks: list[Chunk], cache: PageCache) -> StepPlan:
    """The plan that computes all chunks and draws for those that end their sequence."""
    sequences = [chunk.sequence for chunk in chunks]
    ends = [s.computed + chunk.length for s, chunk in zip(sequences, chunks, strict=True)]
    drawing = [index for index, chunk in enumerate(chunks) if chunk.draws]
    constraints = [sequences[index].constraint for index in drawing]
    masked = [row for row, constraint in enumerate(constraints) if constraint is not None]
    tables = [_page_table(chunk, cache) for chunk in chunks]
    query_starts = _starts([chunk.length for chunk in chunks])
    return StepPlan(
        copies=np.array([copy for chunk in chunks for copy in chunk.copies], np.int32).reshape(
            -1, 2
        ),
        tokens=np.concatenate(
            [s.tokens(s.computed, e) for s, e in zip(sequences, ends, strict=True)]
        ),
        domains=np.concatenate(
            [
                s.request.domains.per_token(s.computed, e)
                for s, e in zip(sequences, ends, strict=True)
            ]
        ),
        query_starts=query_starts,
        context_lengths=np.array([s.computed for s in sequences], np.int32),
        page_starts=_starts([table.nbytes // 4 for table in tables]),
        pages=np.frombuffer(bytearray().join(tables), np.int32),
        sample_rows=np.concatenate(
            [query_starts[1:][drawing] - 1, _score_rows(chunks, query_starts)], dtype=np.int32
        ),
        sample_slots=np.array([sequences[index].slot for index in drawing], np.int32),
        mask_rows=np.array(masked, np.int32),
        masks=_masks(constraints),
        score_tokens=_joined(
            [c.sequence.tokens(c.scored.start + 1, c.scored.stop + 1) for c in chunks if c.scored]
        ),
        score_top_n=_joined(
            [np.full(len(c.scored), c.sequence.request.params.top_n) for c in chunks if c.scored]
        ),
        slots_opened=tuple(
            sequences[index].slot_opening() for index in drawing if not sequences[index].slot_open
        ),
    )


def _score_rows(chunks: list[Chunk], query_starts: Int32Array) -> Int32Array:
    rows = [
        start + position - chunk.sequence.computed
        for chunk, start in zip(chunks, query_starts.tolist(), strict=False)
        for position in chunk.scored
    ]
    return np.array(rows, np.int32)


def _joined(parts: Iterable[npt.NDArray[Any]]) -> Uint32Array:
    return np.concatenate([np.empty(0, np.uint32), *parts], dtype=np.uint32, casting="unsafe")


def _masks(constraints: list[Constraint | None]) -> Uint32Array:
    masks = [constraint.mask() for constraint in constraints if constraint is not None]
    return np.stack(masks) if masks else np.empty((0, 0), np.uint32)


def _page_table(chunk: Chunk, cache: PageCache) -> memoryview:
    assert chunk.sequence.handle is not None
    return cache.pages(chunk.sequence.handle)


def _starts(lengths: list[int]) -> Int32Array:
    return np.fromiter(accumulate(lengths, initial=0), np.int32, len(lengths) + 1)
