"""Turns the chunks of a step into the flat arrays of a `StepPlan`."""

import numpy as np

from text_generation_server._native import PageCache
from text_generation_server.engine.scheduler import Chunk
from text_generation_server.executor.step import Int32Array, StepPlan


def build_plan(chunks: list[Chunk], cache: PageCache) -> StepPlan:
    """The plan that computes all chunks and draws for those that end their sequence."""
    sequences = [chunk.sequence for chunk in chunks]
    ends = [s.computed + chunk.length for s, chunk in zip(sequences, chunks, strict=True)]
    drawing = [index for index, chunk in enumerate(chunks) if chunk.draws]
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
        page_starts=_starts([len(table) for table in tables]),
        pages=np.concatenate(tables),
        sample_rows=query_starts[1:][drawing] - 1,
        sample_slots=np.array([sequences[index].slot for index in drawing], np.int32),
        slots_opened=tuple(
            sequences[index].slot_opening() for index in drawing if not sequences[index].slot_open
        ),
    )


def _page_table(chunk: Chunk, cache: PageCache) -> Int32Array:
    assert chunk.sequence.handle is not None
    return np.frombuffer(cache.pages(chunk.sequence.handle), np.int32)


def _starts(lengths: list[int]) -> Int32Array:
    return np.concatenate(([0], np.cumsum(lengths))).astype(np.int32)
