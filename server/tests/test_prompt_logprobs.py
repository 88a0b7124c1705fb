"""What the model makes of a prompt, and reports of how far a prefill is."""

from pathlib import Path

import numpy as np
import pytest
from engine_harness import (
    EPOCH,
    VOCAB_SIZE,
    WORDS,
    Bench,
    Shape,
    expected_greedy,
    make_request,
    prompt,
    tokens_of,
)
from native_decoder import make_executor
from text_generation_server._native import SamplingParams
from text_generation_server.engine.domains import DomainSpans
from text_generation_server.engine.request import Request
from text_generation_server.engine.scheduler import MAX_SCORED_ROWS
from text_generation_server.engine.sequence import PROGRESS_SECONDS
from text_generation_server.executor.oracle import candidates, digest_of
from text_generation_server.executor.step import Executor, StepPlan, Ticket
from text_generation_server.executor.torch_executor import load_torch_executor
from text_generation_server.models.source import resolve
from tiny_models import make_tiny_llama

TOP_N = 2


def scored(request_id: int, length: int = 100, max_new_tokens: int = 3, seed: int = 1) -> Request:
    params = SamplingParams(top_n=TOP_N)
    tokens = prompt(length, seed)
    return make_request(request_id, tokens, max_new_tokens, params=params, prompt_logprobs=True)


def expected(request: Request) -> list[float]:
    """From the oracle's definition alone."""
    logprobs = []
    for position in range(1, request.prompt_length):
        before = request.tokens[:position]
        ids, values = candidates(
            digest_of(before, DomainSpans.public(position).per_token(0, position), EPOCH), WORDS
        )
        logits = np.full(VOCAB_SIZE, -30.0)
        logits[ids[::-1]] = values[::-1]
        logits -= np.log(np.exp(logits).sum())
        logprobs.append(float(logits[request.tokens[position]]))
    return logprobs


class Watched:
    """Keeps the plans of an executor."""

    def __init__(self, executor: Executor) -> None:
        self._executor = executor
        self.facts, self.bind, self.close = executor.facts, executor.bind, executor.close
        self.plans: list[StepPlan] = []

    def submit(self, plan: StepPlan) -> Ticket:
        self.plans.append(plan)
        return self._executor.submit(plan)


@pytest.mark.parametrize("max_step_tokens", [7, 64, 4096])
def test_every_prompt_token_but_the_first_is_scored(max_step_tokens: int) -> None:
    bench = Bench(Shape(max_step_tokens=max_step_tokens))
    request = scored(1, 200)
    answer = bench.admit(request)
    bench.run()
    assert [token.token_id for token in answer.prompt] == request.tokens[1:].tolist()
    assert np.allclose([token.logprob for token in answer.prompt], expected(request), atol=1e-4)
    for token in answer.prompt:
        assert len(token.top) == TOP_N and token.top[0][1] >= token.top[1][1]
    assert answer.ids == expected_greedy(request)


def test_what_the_cache_has_is_computed_again_and_said_to_be() -> None:
    bench = Bench()
    first = bench.admit(make_request(1, prompt(100, 1), 3))
    bench.run()
    request = scored(2)
    second = bench.admit(request)
    bench.run()
    assert second.completion.receipt.cached_tokens == 0
    assert np.allclose([token.logprob for token in second.prompt], expected(request), atol=1e-4)
    assert second.ids == first.ids


def test_scores_do_not_wait_for_an_equal_prompt_in_flight() -> None:
    bench = Bench(Shape(max_step_tokens=16))
    plain = bench.admit(make_request(1, prompt(100, 1), 3))
    request = scored(2)
    answer = bench.admit(request)
    bench.run()
    assert len(answer.prompt) == 99 and answer.ids == plain.ids


def test_preemption_scores_nothing_twice_and_forgets_nothing() -> None:
    requests = [scored(i, 60, 60, seed=i) for i in range(5)]
    bench = Bench(Shape(num_pages=18, max_total_tokens=140))
    answers = [bench.admit(request) for request in requests]
    bench.run()
    assert bench.engine.load().preemptions > 0
    for request, answer in zip(requests, answers, strict=True):
        logprobs = [token.logprob for token in answer.prompt]
        assert np.allclose(logprobs, expected(request), atol=1e-4)


def test_a_resumed_answer_is_no_prompt() -> None:
    bench = Bench()
    request = make_request(1, prompt(50), 30, prompt_length=40, prompt_logprobs=True)
    answer = bench.admit(request)
    answer.tokens.extend([None] * 10)  # type: ignore[list-item]
    bench.run()
    assert len(answer.prompt) == 39


def test_a_prompt_of_one_token_has_no_scores() -> None:
    bench = Bench()
    request = make_request(1, tokens_of(9), 3, prompt_logprobs=True)
    answer = bench.admit(request)
    bench.run()
    assert answer.prompt == [] and answer.ids == expected_greedy(request)


def test_the_rows_of_logits_of_a_step_are_bounded() -> None:
    watched: list[Watched] = []

    def watch(executor: Executor) -> Executor:
        watched.append(Watched(executor))
        return watched[0]

    bench = Bench(Shape(max_step_tokens=4096, num_pages=200), wrap=watch)
    answers = [bench.admit(scored(i, 300, seed=i)) for i in range(3)]
    bench.run()
    assert max(len(plan.score_tokens) for plan in watched[0].plans) <= MAX_SCORED_ROWS
    assert all(len(answer.prompt) == 299 for answer in answers)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tiny")
    make_tiny_llama(folder)
    return folder


@pytest.mark.parametrize("name", ["native", "torch"])
def test_a_token_scores_as_it_did_when_it_was_drawn(tiny: Path, name: str) -> None:
    source = resolve(str(tiny))
    executor: Executor = (
        make_executor(source) if name == "native" else load_torch_executor(source, "float32")
    )
    params = SamplingParams(temperature=1.0, seed=5, top_n=3)
    shape = Shape(max_step_tokens=48)
    bench = Bench(shape, executor=executor)
    begun = bench.admit(make_request(1, prompt(70), 40, params=params))
    bench.run()
    whole = np.append(prompt(70), np.array(begun.ids, np.uint32))
    request = make_request(2, whole, 1, params=params, prompt_logprobs=True)
    again = bench.admit(request)
    bench.run()
    seen = [(token.token_id, token.logprob, token.top) for token in begun.tokens]
    scores = [tuple(token) for token in again.prompt[-40:]]
    if name == "native":
        assert scores == seen
    else:
        assert [token for token, _, _ in scores] == [token for token, _, _ in seen]
        assert np.allclose([score[1] for score in scores], [s[1] for s in seen], atol=1e-4)


# Progress


def test_a_long_prefill_tells_how_far_it_is() -> None:
    bench = Bench(Shape(max_step_tokens=16))
    history = make_request(1, prompt(64, 1), 1)
    bench.admit(history)
    bench.run()
    request = make_request(2, np.append(history.tokens, prompt(400, 2)), 5, progress=True)
    answer = bench.admit(request)
    while bench.engine.has_work:
        bench.now += 0.1
        bench.step()
    reports = answer.progress
    assert [(report.cached, report.total) for report in reports] == [(64, 464)] * len(reports)
    done = [report.done for report in reports]
    assert done == sorted(set(done)) and 64 < done[0] and done[-1] < 464
    # 25 steps of 0.1 s, so a report after every third.
    assert 7 <= len(reports) <= 9
    assert all(report.eta >= 0 for report in reports)
    middle = reports[len(reports) // 2]
    assert middle.eta == pytest.approx((464 - middle.done) / 16 * 0.1, rel=0.2)


def test_nothing_is_told_unasked_or_about_a_short_prefill() -> None:
    bench = Bench(Shape(max_step_tokens=16))
    answers = [
        bench.admit(make_request(1, prompt(200, 1), 5)),
        bench.admit(make_request(2, prompt(20, 2), 100, progress=True)),
    ]
    while bench.engine.has_work:
        bench.now += PROGRESS_SECONDS / 3
        bench.step()
    assert [answer.progress for answer in answers] == [[], []]
