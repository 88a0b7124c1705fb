"""Turns the chunks of a step into the flat arrays of a `StepPlan`."""

from itertools import accumulate

import numpy as np

from text_generation_server._native import PageCache
from text_generation_server.engine.grammar import Constraint
from text_generation_server.engine.scheduler import Chunk
from text_generation_server.executor.step import (
    ExecutorFacts,
    StepPlan,
    Uint32Array,
    Uint64Array,
)

NO_IDS = np.empty(0, np.int32)
NO_TOKENS = np.empty(0, np.uint32)
NO_DOMAINS = np.empty(0, np.uint64)
NO_MASKS = np.empty((0, 0), np.uint32)
NO_COPIES = np.empty((0, 2), np.int32)


def build_plan(chunks: list[Chunk], cache: PageCache, facts: ExecutorFacts) -> StepPlan:
    """The plan that computes all chunks and draws for those that end their sequence.

    It is built between two calls of the executor, with cold caches: lists become arrays by one way,
    and what a plain decode step has none of is made once.
    """
    sequences = [chunk.sequence for chunk in chunks]
    drawing = [index for index, chunk in enumerate(chunks) if chunk.draws]
    tables = [_page_table(chunk, cache) for chunk in chunks]
    query_starts = list(accumulate([chunk.length for chunk in chunks], initial=0))
    scored = [chunk for chunk in chunks if chunk.scored]
    constraints = [sequences[index].constraint for index in drawing]
    masked = [row for row, constraint in enumerate(constraints) if constraint is not None]
    copies = [copy for chunk in chunks for copy in chunk.copies]
    return StepPlan(
        copies=np.array(copies, np.int32) if copies else NO_COPIES,
        tokens=_tokens(chunks),
        domains=_domains(chunks) if facts.reads_domains else NO_DOMAINS,
        query_starts=np.array(query_starts, np.int32),
        context_lengths=np.array([sequence.computed for sequence in sequences], np.int32),
        page_starts=np.array(
            list(accumulate([table.nbytes // 4 for table in tables], initial=0)), np.int32
        ),
        pages=np.frombuffer(bytearray().join(tables), np.int32),
        sample_rows=np.array(
            [query_starts[index + 1] - 1 for index in drawing] + _score_rows(chunks, query_starts),
            np.int32,
        ),
        sample_slots=np.array([sequences[index].slot for index in drawing], np.int32),
        mask_rows=np.array(masked, np.int32) if masked else NO_IDS,
        masks=_masks(constraints) if masked else NO_MASKS,
        score_tokens=_score_tokens(scored) if scored else NO_TOKENS,
        score_top_n=_score_top_n(scored) if scored else NO_TOKENS,
        slots_opened=tuple(
            sequences[index].slot_opening() for index in drawing if not sequences[index].slot_open
        ),
    )


def _tokens(chunks: list[Chunk]) -> Uint32Array:
    parts = [s.tokens(s.computed, s.computed + c.length) for c in chunks for s in (c.sequence,)]
    return np.concatenate(parts)


def _domains(chunks: list[Chunk]) -> Uint64Array:
    spans = [(chunk.sequence, chunk.sequence.computed, chunk.length) for chunk in chunks]
    return np.concatenate(
        [s.request.domains.per_token(start, start + length) for s, start, length in spans]
    )


def _score_rows(chunks: list[Chunk], query_starts: list[int]) -> list[int]:
    return [
        start + position - chunk.sequence.computed
        for chunk, start in zip(chunks, query_starts, strict=False)
        for position in chunk.scored
    ]


def _score_tokens(scored: list[Chunk]) -> Uint32Array:
    return np.concatenate(
        [c.sequence.tokens(c.scored.start + 1, c.scored.stop + 1) for c in scored]
    )


def _score_top_n(scored: list[Chunk]) -> Uint32Array:
    return np.concatenate(
        [np.full(len(c.scored), c.sequence.request.params.top_n, np.uint32) for c in scored]
    )


def _masks(constraints: list[Constraint | None]) -> Uint32Array:
    return np.stack([constraint.mask() for constraint in constraints if constraint is not None])


def _page_table(chunk: Chunk, cache: PageCache) -> memoryview:
    assert chunk.sequence.handle is not None
    return cache.pages(chunk.sequence.handle)
