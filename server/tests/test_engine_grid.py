"""The answer is a pure function of the tokens: caches, chunks, pages, pools, batches and
cancellations change nothing. Every case is a small server's life on the oracle."""

import random
from typing import Any

import numpy as np
import pytest
from engine_harness import (
    UNLIMITED,
    Answer,
    Bench,
    Shape,
    expected_greedy,
    make_request,
)
from text_generation_server._native import SamplingParams
from text_generation_server.engine.domains import DomainSpans
from text_generation_server.engine.request import FinishReason, Request
from text_generation_server.executor.step import Uint32Array

CASES_PER_SHAPE = 30
MAX_PROMPT = 70
MAX_ANSWER = 14


def num_pages(page_tokens: int, pool: str) -> int:
    longest = -(-(2 * MAX_PROMPT + 3 * MAX_ANSWER) // page_tokens) + 2
    return {"minimal": longest, "tight": 2 * longest, "ample": 40 * longest}[pool]


class Case:
    """Requests that come in over time: new prompts, equal prompts, shared beginnings and follow-up
    turns, some of them cancelled or in another domain."""

    def __init__(self, seed: int, bench: Bench) -> None:
        self._random = random.Random(seed)
        self._bench = bench
        self._requests: dict[int, Request] = {}
        self._cancelled: dict[int, int | None] = {}
        self._stems = [self._tokens(self._random.randint(1, 40)) for _ in range(2)]

    def run(self) -> None:
        for _ in range(self._random.randint(2, 4)):
            for _ in range(self._random.randint(1, 4)):
                self._admit()
            for _ in range(self._random.randint(0, 25)):
                self._bench.step()
                if self._random.random() < 0.03:
                    self._cancel()
        self._bench.run()
        for request in self._requests.values():
            self._verify(request)

    def _tokens(self, length: int) -> Uint32Array:
        # Two different ids only: paths meet and part at every place.
        return np.array(self._random.choices((8, 9), k=length), dtype=np.uint32)

    def _prompt(self) -> Uint32Array:
        kind = self._random.random()
        done = [i for i in self._requests if self._bench.answers[i].finished]
        if kind < 0.3 and done:
            previous = self._requests[self._random.choice(done)]
            answer = np.array(self._bench.answers[previous.id].ids, dtype=np.uint32)
            turn = self._tokens(self._random.randint(1, 12))
            history = np.concatenate((previous.tokens, answer, turn))
            if len(history) <= 2 * MAX_PROMPT:
                return history
        if kind < 0.5 and self._requests:
            return self._random.choice(list(self._requests.values())).tokens
        tail = self._tokens(self._random.randint(1, MAX_PROMPT - 40))
        return np.concatenate((self._random.choice(self._stems), tail))

    def _domains(self, length: int) -> DomainSpans:
        if self._random.random() < 0.7 or length < 2:
            return DomainSpans.public(length)
        cut = self._random.randint(1, length - 1)
        return DomainSpans([(0, cut), (self._random.randint(1, 2), length - cut)])

    def _params(self) -> SamplingParams:
        return SamplingParams()

    def _admit(self) -> None:
        tokens = self._prompt()
        stop = frozenset({int(self._random.randint(8, 63))})
        request = make_request(
            len(self._requests),
            tokens,
            self._random.randint(1, MAX_ANSWER),
            stop_token_ids=stop,
            domains=self._domains(len(tokens)),
            params=self._params(),
        )
        self._requests[request.id] = request
        self._bench.admit(request)

    def _cancel(self) -> None:
        request_id = self._random.choice(list(self._requests))
        if self._bench.answers[request_id].finished:
            return
        seen = len(self._bench.answers[request_id].tokens)
        keep = self._random.choice((None, self._random.randint(0, seen)))
        self._cancelled[request_id] = keep
        self._bench.engine.cancel(request_id, keep)

    def _expected(self, request: Request) -> list[Any]:
        return expected_greedy(request)

    def _seen(self, answer: Answer) -> list[Any]:
        return answer.ids

    def _verify(self, request: Request) -> None:
        answer, expected = self._bench.answers[request.id], self._expected(request)
        seen, completion = self._seen(answer), answer.completion
        if completion.reason is FinishReason.CANCELLED:
            assert request.id in self._cancelled
            assert seen == expected[: len(seen)]
            keep = self._cancelled[request.id]
            assert completion.generated_tokens == (len(answer.ids) if keep is None else keep)
        else:
            assert seen == expected
            assert completion.generated_tokens == len(expected)
        assert completion.receipt.cached_tokens < request.prompt_length


@pytest.mark.parametrize("pool", ["ample", "tight", "minimal"])
@pytest.mark.parametrize("page_tokens", [1, 16, 32])
@pytest.mark.parametrize("chunk", [1, 7, 64, UNLIMITED])
@pytest.mark.parametrize("prefix_caching", [True, False])
def test_answers_depend_on_nothing_but_the_tokens(
    prefix_caching: bool, chunk: int, page_tokens: int, pool: str
) -> None:
    for seed in range(CASES_PER_SHAPE):
        shape = Shape(
            page_tokens=page_tokens,
            num_pages=num_pages(page_tokens, pool),
            max_step_tokens=chunk,
            max_batch_size=6,
            prefix_caching=prefix_caching,
        )
        bench = Bench(shape)
        Case(seed, bench).run()
        if not prefix_caching:
            assert bench.cache.counts().cached == 0
