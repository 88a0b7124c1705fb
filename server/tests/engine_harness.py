"""Builds engines on the oracle and knows, without running anything, what they must answer."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from text_generation_server._native import PageCache, PagePool, SamplingParams
from text_generation_server.engine.admission import EngineLimits
from text_generation_server.engine.domains import DomainSpans
from text_generation_server.engine.engine import Engine
from text_generation_server.engine.grammar import Grammars
from text_generation_server.engine.request import (
    Completion,
    Failure,
    Finished,
    Progress,
    Request,
    Token,
    TokenLogprobs,
)
from text_generation_server.engine.scheduler import SchedulerLimits
from text_generation_server.executor.oracle import OracleExecutor, candidates, digest_of
from text_generation_server.executor.step import Executor, StepPlan, Ticket, Uint32Array

VOCAB_SIZE = 64
WORDS = np.arange(8, VOCAB_SIZE, dtype=np.int32)
EPOCH = 7
UNLIMITED = 1 << 20
POISON = 63
"""The token id on which `Fragile` fails."""


@dataclass(frozen=True)
class Shape:
    """The engine under test."""

    page_tokens: int = 16
    num_pages: int = 64
    max_step_tokens: int = 64
    max_batch_size: int = 8
    prefix_caching: bool = True
    max_total_tokens: int | None = None


@dataclass
class Answer:
    """What came back for one request."""

    tokens: list[Token] = field(default_factory=list)
    finished: list[Finished] = field(default_factory=list)
    prompt: list[TokenLogprobs] = field(default_factory=list)
    """Of the prompt's tokens but the first."""
    progress: list[Progress] = field(default_factory=list)

    @property
    def ids(self) -> list[int]:
        return [token.token_id for token in self.tokens]

    @property
    def completion(self) -> Completion:
        [finished] = self.finished
        assert isinstance(finished, Completion), finished
        return finished

    @property
    def failure(self) -> Failure:
        [finished] = self.finished
        assert isinstance(finished, Failure), finished
        return finished


class Bench:
    """An engine, on the oracle unless told otherwise, checked after every step."""

    def __init__(
        self,
        shape: Shape = Shape(),
        wrap: Callable[[Executor], Executor] = lambda executor: executor,
        clock: Callable[[], float] | None = None,
        executor: Executor | None = None,
        grammars: Grammars | None = None,
    ) -> None:
        if executor is None:
            executor = OracleExecutor(WORDS, VOCAB_SIZE, page_tokens=shape.page_tokens, epoch=EPOCH)
        page_tokens, page_bytes = executor.facts.page_tokens, executor.facts.page_bytes
        pool = PagePool(shape.num_pages, page_bytes)
        # What was never written must never be read: make it stand out. It is NaN for floats.
        np.frombuffer(memoryview(pool), dtype=np.uint8)[:] = 0xFF
        executor.bind(pool, shape.max_batch_size)
        self.cache = PageCache(pool, page_tokens, shape.prefix_caching)
        total = shape.max_total_tokens or (shape.num_pages - 2) * page_tokens
        step = SchedulerLimits(shape.max_batch_size, shape.max_step_tokens)
        self.now = 0.0
        self.engine = Engine(
            wrap(executor),
            self.cache,
            EngineLimits(total - 1, total, step),
            clock or (lambda: self.now),
            grammars,
        )
        self.answers: dict[int, Answer] = {}
        self.steps = 0

    def admit(self, request: Request) -> Answer:
        answer = self.answers[request.id] = Answer()
        refused = self.engine.admit(request)
        if refused:
            answer.finished.append(refused)
        return answer

    def step(self) -> None:
        self.now += 0.001
        self.steps += 1
        events = self.engine.step()
        for run in events.prompts:
            prompt = self.answers[run.request_id].prompt
            assert run.start == len(prompt) + 1
            prompt.extend(run.tokens)
        for report in events.progress:
            self.answers[report.request_id].progress.append(report)
        for token in events.tokens:
            answer = self.answers[token.request_id]
            assert not answer.finished, "a token after the terminal event"
            assert token.index == len(answer.tokens)
            answer.tokens.append(token)
        for finished in events.finished:
            self.answers[finished.request_id].finished.append(finished)
        self.cache.check()

    def run(self, max_steps: int = 100_000) -> None:
        """Step until there is nothing to do, then check that nothing is left behind."""
        while self.engine.has_work:
            assert self.steps < max_steps, "the engine makes no progress"
            self.step()
        self.assert_idle()

    def assert_idle(self) -> None:
        counts, load = self.cache.counts(), self.engine.load()
        assert counts.referenced == 0
        assert counts.free + counts.cached == counts.total
        assert load.waiting == load.prefilling == load.decoding == 0
        for answer in self.answers.values():
            assert len(answer.finished) == 1


def tokens_of(*ids: int) -> Uint32Array:
    return np.array(ids, dtype=np.uint32)


def make_request(
    request_id: int, tokens: Uint32Array, max_new_tokens: int = 8, **others: Any
) -> Request:
    """A public greedy request; `others` replace fields of `Request`."""
    plain = Request(
        id=request_id,
        tokens=tokens,
        prompt_length=len(tokens),
        max_new_tokens=max_new_tokens,
        params=SamplingParams(),
        stop_token_ids=frozenset(),
        domains=DomainSpans.public(len(tokens)),
        arrival=0.0,
        deadline=None,
    )
    return replace(plain, **others)


def expected_greedy(request: Request) -> list[int]:
    """The answer of temperature 0, from the tokens alone."""
    tokens, prompt_length = request.tokens, request.prompt_length
    while len(tokens) - prompt_length < request.max_new_tokens:
        domains = request.domains.per_token(0, len(tokens))
        ids, _ = candidates(digest_of(tokens, domains, EPOCH), WORDS)
        tokens = np.append(tokens, ids[:1].astype(np.uint32))
        if int(ids[0]) in request.stop_token_ids:
            break
    return tokens[len(request.tokens) :].tolist()


def prompt(length: int, seed: int = 0) -> Uint32Array:
    return np.random.default_rng(seed).integers(8, POISON, length).astype(np.uint32)


class Fragile:
    """An executor that fails on one token id."""

    def __init__(self, executor: Executor) -> None:
        self._executor = executor
        self.facts = executor.facts

    def bind(self, pool: PagePool, num_slots: int) -> None:
        self._executor.bind(pool, num_slots)

    def submit(self, plan: StepPlan) -> Ticket:
        if POISON in plan.tokens:
            raise RuntimeError("poisoned")
        return self._executor.submit(plan)

    def close(self) -> None:
        self._executor.close()
