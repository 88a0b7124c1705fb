"""The engine's rules one by one, on the oracle."""

import numpy as np
import pytest
from engine_harness import (
    POISON,
    VOCAB_SIZE,
    Bench,
    Fragile,
    Shape,
    expected_greedy,
    make_request,
    prompt,
    tokens_of,
)
from text_generation_server._native import SamplingParams
from text_generation_server.engine.domains import DomainSpans
from text_generation_server.engine.engine import MAX_FAILED_STEPS
from text_generation_server.engine.request import ErrorCode, FinishReason, Request
from text_generation_server.errors import EngineFailedError


def test_answers_a_request() -> None:
    bench = Bench()
    request = make_request(1, prompt(20), 5)
    answer = bench.admit(request)
    bench.run()
    assert answer.ids == expected_greedy(request)
    assert answer.completion.reason is FinishReason.LENGTH
    assert answer.completion.prompt_tokens == 20
    assert answer.completion.generated_tokens == 5


def test_stop_token_ends_and_is_reported() -> None:
    free = make_request(1, prompt(20), 6)
    third = expected_greedy(free)[2]
    bench = Bench()
    answer = bench.admit(make_request(1, prompt(20), 6, stop_token_ids=frozenset({third})))
    bench.run()
    assert answer.ids == expected_greedy(free)[: answer.ids.index(third) + 1]
    assert answer.ids[-1] == third
    assert answer.completion.reason is FinishReason.STOP_TOKEN


def test_follow_up_computes_only_what_is_new() -> None:
    bench = Bench()
    first = make_request(1, prompt(50), 10)
    answer = bench.admit(first)
    bench.run()
    history = np.append(first.tokens, np.array(answer.ids, dtype=np.uint32))
    follow_up = make_request(2, np.append(history, prompt(7, seed=1)), 4)
    second = bench.admit(follow_up)
    before = bench.engine.load().prefill_tokens
    bench.run()
    # The last token of an answer is drawn but never fed: its KV does not exist.
    assert second.completion.receipt.cached_tokens == len(history) - 1
    assert bench.engine.load().prefill_tokens - before == 1 + 7
    assert second.ids == expected_greedy(follow_up)


def test_equal_prompt_computes_one_token() -> None:
    bench = Bench()
    for request_id in (1, 2):
        answer = bench.admit(make_request(request_id, prompt(50), 1))
        bench.run()
    assert answer.completion.receipt.cached_tokens == 49


def test_equal_prompts_in_flight_are_computed_once() -> None:
    bench = Bench(Shape(max_step_tokens=16))
    answers = [bench.admit(make_request(i, prompt(100), 3)) for i in range(4)]
    bench.run()
    assert bench.engine.load().prefill_tokens == 100 + 3
    assert [a.completion.receipt.cached_tokens for a in answers] == [0, 99, 99, 99]


def test_common_beginning_in_flight_is_computed_once() -> None:
    bench = Bench(Shape(max_step_tokens=16))
    stem = prompt(64)
    tails = [np.append(stem, prompt(20, seed=i)) for i in range(1, 4)]
    for i, tokens in enumerate(tails):
        bench.admit(make_request(i, tokens, 2))
    bench.run()
    assert bench.engine.load().prefill_tokens == 64 + 3 * 20


def test_follower_goes_on_alone_when_its_leader_is_cancelled() -> None:
    bench = Bench(Shape(max_step_tokens=16))
    bench.admit(make_request(1, prompt(100), 3))
    follower = bench.admit(make_request(2, prompt(100), 3))
    bench.step()
    bench.step()
    bench.engine.cancel(1)
    bench.run()
    assert follower.completion.receipt.cached_tokens == 32
    assert follower.ids == expected_greedy(make_request(2, prompt(100), 3))


def test_domains_do_not_share() -> None:
    bench = Bench()
    tokens = prompt(40)
    cached = []
    for request_id, domains in enumerate(
        (
            DomainSpans([(0, 24), (1, 16)]),
            DomainSpans([(0, 24), (2, 16)]),
            DomainSpans([(0, 24), (1, 16)]),
            DomainSpans([(3, 40)]),
        )
    ):
        answer = bench.admit(make_request(request_id, tokens, 2, domains=domains))
        bench.run()
        cached.append(answer.completion.receipt.cached_tokens)
    assert cached == [0, 24, 39, 0]


@pytest.mark.parametrize("steps", [0, 1, 2, 6, 9])
def test_cancel_takes_effect_at_the_next_step(steps: int) -> None:
    bench = Bench(Shape(max_step_tokens=16))
    answer = bench.admit(make_request(1, prompt(60), 50))
    for _ in range(steps):
        bench.step()
    bench.engine.cancel(1)
    bench.step()
    assert answer.completion.reason is FinishReason.CANCELLED
    bench.run()


def test_dropped_tokens_do_not_enter_the_cache() -> None:
    bench = Bench()
    request = make_request(1, prompt(30), 20)
    answer = bench.admit(request)
    while len(answer.tokens) < 10:
        bench.step()
    bench.engine.cancel(1, keep_tokens=4)
    bench.run()
    assert answer.completion.generated_tokens == 4
    tokens = np.append(request.tokens, np.array(answer.ids, dtype=np.uint32))
    again = bench.admit(make_request(2, tokens, 1))
    bench.run()
    assert again.completion.receipt.cached_tokens == 30 + 4


def test_resumed_request_goes_on_where_it_was() -> None:
    whole = make_request(1, prompt(30), 10, params=SamplingParams(temperature=1.0, seed=5))
    bench = Bench()
    answer = bench.admit(whole)
    bench.run()
    resumed = Request(
        id=2,
        tokens=np.append(whole.tokens, np.array(answer.ids[:4], dtype=np.uint32)),
        prompt_length=30,
        max_new_tokens=10,
        params=whole.params,
        stop_token_ids=frozenset(),
        domains=DomainSpans.public(34),
        arrival=0.0,
        deadline=None,
    )
    bench = Bench()
    events = bench.engine
    assert events.admit(resumed) is None
    ids, completion = [], None
    while events.has_work:
        step = events.step()
        ids += [(token.index, token.token_id) for token in step.tokens]
        completion = step.finished
    assert ids == list(enumerate(answer.ids))[4:]
    assert completion is not None
    assert completion[0].generated_tokens == 10


def test_preempted_sequences_resume_with_the_same_answer() -> None:
    params = [
        SamplingParams(temperature=0.9, top_p=0.9, frequency_penalty=0.5, seed=s) for s in range(4)
    ]
    alone = []
    for i in range(4):
        bench = Bench(Shape(page_tokens=4, num_pages=200))
        answer = bench.admit(make_request(i, prompt(20, seed=i), 40, params=params[i]))
        bench.run()
        alone.append(answer.ids)
    bench = Bench(Shape(page_tokens=4, num_pages=24))
    answers = [
        bench.admit(make_request(i, prompt(20, seed=i), 40, params=params[i])) for i in range(4)
    ]
    bench.run()
    assert bench.engine.load().preemptions > 0
    assert [answer.ids for answer in answers] == alone
    assert answers[0].completion.receipt.preemptions == 0, "the senior is never preempted"


def test_preempted_sequence_resumes_by_a_hit() -> None:
    bench = Bench(Shape(page_tokens=4, num_pages=38, max_batch_size=2))
    requests = [make_request(0, prompt(40), 40), make_request(1, prompt(40, seed=1), 40)]
    answers = [bench.admit(request) for request in requests]
    bench.run()
    assert answers[1].completion.receipt.preemptions > 0
    assert [answer.ids for answer in answers] == [expected_greedy(r) for r in requests]
    recomputed = bench.engine.load().prefill_tokens - 2 * 40
    assert recomputed <= 8 * answers[1].completion.receipt.preemptions


def test_prompt_takes_the_pages_of_a_junior_that_decodes() -> None:
    bench = Bench(Shape(page_tokens=4, num_pages=60, max_step_tokens=5))
    requests = [make_request(0, prompt(200), 4), make_request(1, prompt(8, seed=1), 120)]
    senior = bench.admit(requests[0])
    bench.step()
    junior = bench.admit(requests[1])
    bench.run()
    assert junior.completion.receipt.preemptions > 0
    assert senior.completion.receipt.preemptions == 0
    assert [senior.ids, junior.ids] == [expected_greedy(r) for r in requests]


def test_sampling_does_not_depend_on_the_batch() -> None:
    def ask(bench: Bench, i: int) -> list[int]:
        params = SamplingParams(temperature=1.2, top_k=5, repetition_penalty=1.1, seed=i)
        answer = bench.admit(make_request(i, prompt(10 + i, seed=i), 12, params=params))
        bench.run()
        return answer.ids

    alone = [ask(Bench(), i) for i in range(6)]
    bench = Bench()
    params = [
        SamplingParams(temperature=1.2, top_k=5, repetition_penalty=1.1, seed=i) for i in range(6)
    ]
    answers = [
        bench.admit(make_request(i, prompt(10 + i, seed=i), 12, params=params[i])) for i in range(6)
    ]
    bench.run()
    assert [answer.ids for answer in answers] == alone


def test_top_tokens_are_reported() -> None:
    bench = Bench()
    answer = bench.admit(make_request(1, prompt(10), 3, params=SamplingParams(top_n=3)))
    bench.run()
    for token in answer.tokens:
        assert len(token.top) == 3
        assert token.top[0] == (token.token_id, pytest.approx(token.logprob))


def test_short_prompts_pass_a_long_one_and_do_not_starve_it() -> None:
    bench = Bench(Shape(max_step_tokens=16, num_pages=400, max_batch_size=8))
    long = bench.admit(make_request(0, prompt(1600), 1))
    bench.step()
    short = bench.admit(make_request(1, prompt(10, seed=1), 1))
    bench.step()
    assert short.finished, "a short prompt runs in the next step"
    number = 2
    while not long.finished:
        # 100 chunks, against an eighth of the places and a load that fills every step.
        assert bench.steps < 100 * 8 * 2, "the long prompt starves"
        bench.admit(make_request(number, prompt(16, seed=number), 1))
        number += 1
        bench.step()
    bench.run()


def test_running_streams_get_a_token_in_every_step() -> None:
    bench = Bench(Shape(max_step_tokens=32, num_pages=400))
    stream = bench.admit(make_request(1, prompt(5), 30))
    bench.step()
    bench.admit(make_request(2, prompt(800, seed=1), 1))
    for expected in range(2, 20):
        bench.step()
        assert len(stream.tokens) == expected
    bench.run()


def test_timeout_fails_the_request_alone() -> None:
    bench = Bench(Shape(max_step_tokens=16))
    late = bench.admit(make_request(1, prompt(200), 5, deadline=0.003))
    other = bench.admit(make_request(2, prompt(20, seed=1), 5))
    bench.run()
    assert late.failure.code is ErrorCode.TIMEOUT
    assert other.completion.reason is FinishReason.LENGTH


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (make_request(1, prompt(2000), 1), "prompt has 2000 tokens, limit is 991"),
        (
            make_request(1, prompt(900), 93),
            "prompt of 900 + max_new_tokens of 93 exceed the limit of 992",
        ),
        (
            make_request(1, tokens_of(3, VOCAB_SIZE)),
            "token id 64 is not below the vocabulary of 64",
        ),
        (
            make_request(1, prompt(5), params=SamplingParams(logit_bias=[(VOCAB_SIZE, 1.0)])),
            "token id 64 is not below the vocabulary of 64",
        ),
        (make_request(1, prompt(5), 0), "max_new_tokens is 0"),
        (make_request(1, prompt(5), domains=DomainSpans.public(6)), "domains cover 6 tokens"),
    ],
)
def test_refuses_what_breaks_the_contract(request_: Request, message: str) -> None:
    bench = Bench()
    answer = bench.admit(request_)
    assert answer.failure.code is ErrorCode.INVALID
    assert message in answer.failure.message
    assert not answer.failure.retryable
    bench.assert_idle()


def test_longest_request_fits() -> None:
    bench = Bench()
    request = make_request(1, prompt(900), 92)
    answer = bench.admit(request)
    bench.run()
    assert answer.ids == expected_greedy(request)


def test_poisoned_request_takes_no_neighbour_along() -> None:
    bench = Bench(wrap=Fragile)
    poisoned = bench.admit(make_request(1, np.append(prompt(20), np.uint32(POISON)), 3))
    params = SamplingParams(temperature=1.0, seed=3)
    neighbours = [
        bench.admit(make_request(i, prompt(20, seed=i), 9, params=params)) for i in (2, 3)
    ]
    bench.run()
    assert poisoned.failure.code is ErrorCode.ENGINE_FAILED
    assert poisoned.failure.retryable
    healthy = Bench()
    for i, neighbour in zip((2, 3), neighbours, strict=True):
        alone = healthy.admit(make_request(i, prompt(20, seed=i), 9, params=params))
        healthy.run()
        assert neighbour.ids == alone.ids


def test_failed_prefill_leaves_nothing_wrong_in_the_cache() -> None:
    bench = Bench(Shape(max_step_tokens=16), wrap=Fragile)
    tokens = np.concatenate((prompt(40), tokens_of(POISON), prompt(20, seed=1)))
    failed = bench.admit(make_request(1, tokens, 3))
    bench.run()
    assert failed.failure.code is ErrorCode.ENGINE_FAILED
    request = make_request(2, np.append(tokens[:40], prompt(30, seed=2)), 5)
    after = bench.admit(request)
    bench.run()
    assert after.completion.receipt.cached_tokens == 32
    assert after.ids == expected_greedy(request)


def test_executor_that_only_fails_ends_the_engine() -> None:
    bench = Bench(wrap=Fragile)
    for i in range(MAX_FAILED_STEPS - 1):
        bench.admit(make_request(i, tokens_of(POISON), 1))
        bench.step()
    bench.admit(make_request(9, tokens_of(POISON), 1))
    with pytest.raises(EngineFailedError):
        bench.step()


def test_cache_is_evicted_under_pressure_and_stays_right() -> None:
    bench = Bench(Shape(page_tokens=4, num_pages=30))
    for i in range(40):
        request = make_request(i, prompt(40, seed=i % 7), 5)
        answer = bench.admit(request)
        bench.run()
        assert answer.ids == expected_greedy(request)
    assert bench.engine.load().evicted_pages > 0


def test_more_requests_than_places_all_finish() -> None:
    bench = Bench(Shape(max_batch_size=2))
    requests = [make_request(i, prompt(5 + i, seed=i), 4) for i in range(10)]
    answers = [bench.admit(request) for request in requests]
    assert bench.engine.load().waiting == 10
    bench.run()
    assert [answer.ids for answer in answers] == [expected_greedy(r) for r in requests]


def test_cancel_all_leaves_nothing() -> None:
    bench = Bench(Shape(max_step_tokens=16))
    for i in range(12):
        bench.admit(make_request(i, prompt(30, seed=i), 5))
    bench.step()
    bench.step()
    bench.engine.cancel_all()
    assert not bench.engine.has_work
    bench.cache.check()
    assert bench.cache.counts().referenced == 0
