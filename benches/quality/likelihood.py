"""Scores given tokens by driving an executor with step plans."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from text_generation_server._native import PagePool
from text_generation_server.executor.step import (
    Executor,
    Float32Array,
    Int32Array,
    StepPlan,
)

_CHUNK_TOKENS = 128
"""Tokens of a step: bounds the memory of its logits."""


class Scorable(Executor, Protocol):
    """An executor that gives logits as well as draws."""

    def logits(self, plan: StepPlan) -> Float32Array:
        """Compute a step; [R, vocab_size] of its sample rows."""
        ...


@dataclass(frozen=True)
class Scores:
    """What a model says of a text, token by token."""

    logprobs: Float32Array
    """Natural log of the probability that it gave to the token that stands there."""
    likeliest: Int32Array
    """The token that it held most likely there."""

    @classmethod
    def joined(cls, parts: list["Scores"]) -> "Scores":
        """One after the other."""
        return cls(
            np.concatenate([part.logprobs for part in parts]),
            np.concatenate([part.likeliest for part in parts]),
        )


def score(executor: Scorable, windows: list[list[int]]) -> Scores:
    """Score every token but the first of each window, given those before it in its window.

    The executor is bound to a pool of its own, and closed afterwards.
    """
    facts = executor.facts
    num_pages = -(-max(map(len, windows)) // facts.page_tokens)
    executor.bind(PagePool(num_pages, facts.page_bytes), 1)
    try:
        return Scores.joined([_score_window(executor, window, num_pages) for window in windows])
    finally:
        executor.close()


def _score_window(executor: Scorable, window: list[int], num_pages: int) -> Scores:
    parts = []
    for start in range(0, len(window) - 1, _CHUNK_TOKENS):
        stop = min(start + _CHUNK_TOKENS, len(window) - 1)
        logits = executor.logits(_plan(window, start, stop, num_pages)).astype(np.float64)
        likeliest = logits.argmax(1)
        logits -= logits.max(1, keepdims=True)
        drawn = logits[np.arange(stop - start), window[start + 1 : stop + 1]]
        logprobs = drawn - np.log(np.exp(logits).sum(1))
        parts.append(Scores(logprobs.astype(np.float32), likeliest.astype(np.int32)))
    return Scores.joined(parts)


def _plan(window: list[int], start: int, stop: int, num_pages: int) -> StepPlan:
    """Computes the window's tokens from `start` to `stop` and wants the logits of all."""
    count = stop - start
    return StepPlan(
        copies=np.empty((0, 2), np.int32),
        tokens=np.array(window[start:stop], np.uint32),
        domains=np.zeros(count, np.uint64),
        query_starts=np.array([0, count], np.int32),
        context_lengths=np.array([start], np.int32),
        page_starts=np.array([0, num_pages], np.int32),
        pages=np.arange(num_pages, dtype=np.int32),
        sample_rows=np.arange(count, dtype=np.int32),
        sample_slots=np.zeros(count, np.int32),
    )
