"""Perplexity and its comparison, on an executor whose probabilities are known."""

import numpy as np
import pytest
from quality.compare import agreement, change, perplexity
from quality.likelihood import Scores, score
from text_generation_server._native import PagePool
from text_generation_server.executor.step import ExecutorFacts, Float32Array, StepPlan
from text_generation_server.executor.ticket import CompletedTicket

VOCABULARY = 8


class NextToken:
    """Gives the token after this one (modulo the vocabulary) e times the odds of each other."""

    facts = ExecutorFacts(
        name="fake",
        device="cpu",
        hardware="none",
        weights="none",
        kv_dtype="none",
        fingerprint="",
        vocab_size=VOCABULARY,
        context_length=1024,
        page_tokens=32,
        page_bytes=64,
    )

    def __init__(self) -> None:
        self.computed: list[int] = []

    def bind(self, pool: PagePool, num_slots: int) -> None:
        """See `Executor.bind`."""

    def submit(self, plan: StepPlan) -> CompletedTicket:
        """Scoring draws nothing."""
        raise NotImplementedError

    def close(self) -> None:
        """See `Executor.close`."""

    def logits(self, plan: StepPlan) -> Float32Array:
        """See `Scorable.logits`; keeps the positions that were computed."""
        start = int(plan.context_lengths[0])
        self.computed.extend(range(start, start + len(plan.tokens)))
        return np.eye(VOCABULARY, dtype=np.float32)[(plan.tokens + 1) % VOCABULARY]


def scores(*logprobs: float) -> Scores:
    return Scores(np.array(logprobs, np.float32), np.arange(len(logprobs), dtype=np.int32))


def test_every_token_but_a_windows_first_is_scored_by_those_before_it() -> None:
    executor = NextToken()
    window = [i % VOCABULARY for i in range(300)]
    result = score(executor, [window, [3, 3]])
    right = 1 - np.log(np.e + VOCABULARY - 1)
    assert executor.computed == [*range(299), 0]
    assert result.logprobs[:-1] == pytest.approx([right] * 299)
    assert result.logprobs[-1] == pytest.approx(right - 1)
    assert result.likeliest.tolist() == [*window[1:], 4]


def test_perplexity_is_the_inverse_of_a_constant_probability() -> None:
    assert perplexity(scores(*[np.log(0.25)] * 5)) == pytest.approx(4.0)


def test_a_constant_difference_has_no_error() -> None:
    base, worse = scores(-1.0, -2.0, -3.0), scores(-1.5, -2.5, -3.5)
    found = change(worse, base)
    assert found.share == pytest.approx(np.exp(0.5) - 1)
    assert found.error == pytest.approx(0.0, abs=1e-6)


def test_the_error_is_that_of_the_paired_differences() -> None:
    found = change(scores(-1.1, -1.9, -3.1, -3.9), scores(-1.0, -2.0, -3.0, -4.0))
    assert found.share == pytest.approx(0.0, abs=1e-6)
    assert found.error == pytest.approx(0.1 * np.sqrt(4 / 3) / 2, rel=1e-4)


def test_agreement_counts_equal_likeliest_tokens() -> None:
    base = scores(0.0, 0.0, 0.0, 0.0)
    other = Scores(base.logprobs, np.array([0, 1, 2, 9], np.int32))
    assert agreement(other, base) == 0.75
