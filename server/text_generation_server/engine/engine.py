"""The step: schedule → execute → commit → emit.

`Engine` is used by one thread. Every admitted request gets exactly one terminal event, from
`admit` itself or from a later `step`.
"""

import logging
import time
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_COMPLETED, wait
from dataclasses import dataclass

from text_generation_server._native import PageCache
from text_generation_server.engine.admission import EngineLimits, find_mistake
from text_generation_server.engine.grammar import Constraint, Grammars
from text_generation_server.engine.pace import Pace
from text_generation_server.engine.plan import build_plan
from text_generation_server.engine.request import (
    Completion,
    ErrorCode,
    Failure,
    Finished,
    FinishReason,
    Load,
    Progress,
    PromptLogprobs,
    Request,
    StepEvents,
    Token,
    TokenLogprobs,
)
from text_generation_server.engine.results import Outcome, outcomes
from text_generation_server.engine.scheduler import Chunk, Scheduler
from text_generation_server.engine.sequence import Phase, Sequence
from text_generation_server.errors import EngineFailedError
from text_generation_server.executor.step import Executor

logger = logging.getLogger(__name__)

MAX_FAILED_STEPS = 3
"""Steps without any result, one after the other, after which the executor counts as broken."""

MASK_SECONDS = 0.002
MASK_SHARE = 0.1
"""How long a step is held up for masks: so many seconds, or this share of the last step's time if
that is more. Sequences whose masks come later sit the step out, so that a heavy grammar does not
slow the answers beside it."""

IDLE_SECONDS = 0.05
"""How long at most a step waits for masks when there is nothing else to compute."""


@dataclass(slots=True)
class Totals:
    """Counters since the start."""

    steps: int = 0
    prefill_tokens: int = 0
    cached_tokens: int = 0
    generated_tokens: int = 0


class Engine:
    """Owns the sequences, the scheduler and, through it, the page cache."""

    def __init__(
        self,
        executor: Executor,
        cache: PageCache,
        limits: EngineLimits,
        clock: Callable[[], float] = time.monotonic,
        grammars: Grammars | None = None,
    ) -> None:
        """grammars: None refuses requests that have one."""
        self._executor = executor
        self._cache = cache
        self._limits = limits
        self._grammars = grammars
        self._clock = clock
        self._scheduler = Scheduler(cache, limits.step)
        self._sequences: dict[int, Sequence] = {}
        self._totals = Totals()
        self._pace = Pace(clock, time.thread_time)
        self._failed_steps = 0
        self._execute_seconds = 0.0
        self._step_seconds = 0.0

    @property
    def has_work(self) -> bool:
        """Whether a step would do anything."""
        return bool(self._sequences)

    def admit(self, request: Request) -> Failure | None:
        """Take a request in, or say why not."""
        if request.id in self._sequences:
            return _refused(request, f"request id {request.id} is in use")
        if request.grammar and self._grammars is None:
            return _refused(request, "grammars are disabled, or the tokenizer does not suit them")
        mistake = find_mistake(request, self._limits, self._executor.facts.vocab_size)
        if mistake is not None:
            return _refused(request, mistake)
        if not self._sequences:
            self._pace.rest()
        sequence = Sequence(request, self._constraint(request))
        self._sequences[request.id] = sequence
        self._scheduler.add(sequence)
        prompt, answer = request.prompt_length, request.max_new_tokens
        fields = request.log_fields
        logger.debug("admitted: prompt of %d tokens, answer up to %d", prompt, answer, extra=fields)
        return None

    def cancel(self, request_id: int, keep_tokens: int | None = None) -> None:
        """End a request at the next step. Unknown and finished ids are ignored: the cancel may have
        crossed the terminal event."""
        sequence = self._sequences.get(request_id)
        if sequence is not None:
            sequence.cancelled = True
            sequence.keep_tokens = keep_tokens

    def cancel_all(self) -> None:
        """End all requests now, without a word: nobody listens any more."""
        for sequence in list(self._sequences.values()):
            self._complete(sequence, FinishReason.CANCELLED)

    def step(self) -> StepEvents:
        """Run one step. Raises EngineFailedError when the executor is beyond use."""
        self._await_masks()
        started = self._clock()
        finished = [self._end(sequence, started) for sequence in self._ending(started)]
        chunks = self._scheduler.schedule()
        results = self._execute(chunks) if chunks else {}
        now = self._clock()
        tokens: list[Token] = []
        prompts: list[PromptLogprobs] = []
        progress: list[Progress] = []
        for chunk in chunks:
            outcome = results[chunk.sequence.request.id]
            if isinstance(outcome, Failure):
                self._forget(chunk.sequence)
                finished.append(outcome)
                continue
            self._commit(chunk, started)
            prompts.extend(chunk.sequence.accept_scores(outcome.scores))
            if outcome.drawn is not None:
                tokens.append(self._accept(chunk.sequence, outcome.drawn, now))
                finished.extend(self._completed(chunk.sequence, outcome.drawn.token_id))
            else:
                progress.extend(chunk.sequence.progress(now))
        self._step_seconds = self._clock() - started
        return StepEvents(tuple(tokens), tuple(finished), tuple(prompts), tuple(progress))

    def prepare(self) -> bool:
        """Use a short moment without work for what comes. False when everything is ready."""
        return self._cache.grow_reserve()

    @property
    def credit(self) -> int:
        """Requests the router may have here without a terminal event."""
        return self._scheduler.credit()

    def load(self) -> Load:
        """The engine's state right now."""
        counts, totals, scheduler = self._cache.counts(), self._totals, self._scheduler
        pace = self._pace.totals
        return Load(
            credit=scheduler.credit(),
            waiting=scheduler.waiting,
            prefilling=scheduler.running(Phase.PREFILLING),
            decoding=scheduler.running(Phase.DECODING),
            pages_free=counts.free,
            pages_cached=counts.cached,
            pages_referenced=counts.referenced,
            steps=totals.steps,
            prefill_tokens=totals.prefill_tokens,
            cached_tokens=totals.cached_tokens,
            generated_tokens=totals.generated_tokens,
            evicted_pages=self._cache.evictions(),
            preemptions=scheduler.preemptions,
            execute_seconds=self._execute_seconds,
            step_seconds=self._step_seconds,
            execute_total_seconds=pace.execute_seconds,
            gap_total_seconds=pace.gap_seconds,
            gap_cpu_seconds=pace.gap_cpu_seconds,
            gaps=pace.gaps,
        )

    # Grammars

    def _constraint(self, request: Request) -> Constraint | None:
        if not request.grammar or self._grammars is None:
            return None
        return self._grammars.start(request.grammar, request.tokens[request.prompt_length :])

    def _await_masks(self) -> None:
        """Give masks that are being computed a moment; wait for one when nothing else can run."""
        sequences = self._sequences.values()
        pending = [s.constraint.pending for s in sequences if s.constraint and not s.may_draw]
        if not pending:
            return
        seconds = max(MASK_SECONDS, MASK_SHARE * self._execute_seconds)
        ready = wait(pending, seconds).done
        if not ready and len(pending) == len(self._sequences):
            wait(pending, IDLE_SECONDS, FIRST_COMPLETED)

    # Execution

    def _execute(self, chunks: list[Chunk]) -> dict[int, Outcome | Failure]:
        """What became of each chunk, by request id.

        When a step fails, each of its sequences is tried alone, so that a request on which the
        executor fails takes no neighbour along. That is safe: nothing is committed yet, and a chunk
        writes the same cells again.
        """
        started = self._clock()
        try:
            results: dict[int, Outcome | Failure] = dict(self._submit(chunks))
        except Exception:
            logger.exception("a step of %d sequences failed", len(chunks))
            results = {chunk.sequence.request.id: self._execute_alone(chunk) for chunk in chunks}
        self._execute_seconds = self._clock() - started
        self._totals.steps += 1
        self._watch(results)
        return results

    def _execute_alone(self, chunk: Chunk) -> Outcome | Failure:
        try:
            return next(outcome for _, outcome in self._submit([chunk]))
        except Exception:
            request = chunk.sequence.request
            logger.exception("the step of a request failed", extra=request.log_fields)
            return Failure(
                request.id,
                ErrorCode.ENGINE_FAILED,
                "the step that computed this request failed",
                True,
            )

    def _submit(self, chunks: list[Chunk]) -> Iterable[tuple[int, Outcome]]:
        plan = build_plan(chunks, self._cache, self._executor.facts)
        self._pace.begin()
        try:
            result = self._executor.submit(plan).wait()
        finally:
            self._pace.end()
        for chunk in chunks:
            chunk.sequence.slot_open |= chunk.draws
        ids = [chunk.sequence.request.id for chunk in chunks]
        return zip(ids, outcomes(chunks, result), strict=True)

    def _watch(self, results: dict[int, Outcome | Failure]) -> None:
        if not all(isinstance(result, Failure) for result in results.values()):
            self._failed_steps = 0
            return
        self._failed_steps += 1
        if self._failed_steps >= MAX_FAILED_STEPS:
            raise EngineFailedError(f"{MAX_FAILED_STEPS} steps in a row gave no result")

    # Commit and emit

    def _commit(self, chunk: Chunk, started: float) -> None:
        sequence = chunk.sequence
        if sequence.first_scheduled is None:
            sequence.first_scheduled = started
            self._totals.cached_tokens += sequence.cached_tokens
        sequence.computed += chunk.length
        if sequence.phase is Phase.PREFILLING:
            self._totals.prefill_tokens += chunk.length
            self._scheduler.commit(sequence, sequence.computed)

    def _accept(self, sequence: Sequence, drawn: TokenLogprobs, now: float) -> Token:
        sequence.phase = Phase.DECODING
        sequence.append(drawn.token_id)
        if sequence.first_token is None:
            sequence.first_token = now
        sequence.last_token = now
        self._totals.generated_tokens += 1
        index = sequence.generated - 1
        return Token(sequence.request.id, index, drawn.token_id, drawn.logprob, drawn.top)

    def _completed(self, sequence: Sequence, token_id: int) -> list[Finished]:
        if token_id in sequence.request.stop_token_ids:
            return [self._complete(sequence, FinishReason.STOP_TOKEN)]
        if sequence.length >= sequence.request.max_length:
            return [self._complete(sequence, FinishReason.LENGTH)]
        if sequence.constraint is not None:
            sequence.constraint.advance(token_id)
        return []

    def _ending(self, now: float) -> list[Sequence]:
        """Sequences that were cancelled, ran out of time or cannot follow their grammar."""
        return [
            sequence
            for sequence in self._sequences.values()
            if sequence.cancelled
            or (sequence.constraint is not None and sequence.constraint.error is not None)
            or (sequence.request.deadline is not None and sequence.request.deadline < now)
        ]

    def _end(self, sequence: Sequence, now: float) -> Finished:
        if sequence.cancelled:
            return self._complete(sequence, FinishReason.CANCELLED)
        waited = now - sequence.request.arrival
        self._forget(sequence)
        if sequence.constraint is not None and sequence.constraint.error is not None:
            # Not what the error says: it may quote the grammar.
            logger.warning("the grammar cannot be followed", extra=sequence.request.log_fields)
            error = sequence.constraint.error
            return _invalid(sequence.request, f"the grammar cannot be followed: {error}")
        message = f"request ran out of time after {waited:.1f} s"
        logger.warning("%s", message, extra=sequence.request.log_fields)
        return Failure(sequence.request.id, ErrorCode.TIMEOUT, message, False)

    def _complete(self, sequence: Sequence, reason: FinishReason) -> Completion:
        kept = sequence.kept_length()
        if sequence.handle is not None:
            self._scheduler.commit(sequence, min(kept, sequence.computed))
        self._forget(sequence)
        request = sequence.request
        generated = max(kept - request.prompt_length, 0)
        # A cancel that keeps tokens is the regular end of an answer with a stop string.
        left = reason is FinishReason.CANCELLED and sequence.keep_tokens is None
        ended = "cancelled" if left else "answered"
        level = logging.INFO if left else logging.DEBUG
        logger.log(level, "%s after %d tokens", ended, generated, extra=request.log_fields)
        return Completion(request.id, reason, request.prompt_length, generated, sequence.receipt())

    def _forget(self, sequence: Sequence) -> None:
        self._scheduler.remove(sequence)
        del self._sequences[sequence.request.id]


def _refused(request: Request, mistake: str) -> Failure:
    logger.warning("refused: %s", mistake, extra=request.log_fields)
    return _invalid(request, mistake)


def _invalid(request: Request, message: str) -> Failure:
    return Failure(request.id, ErrorCode.INVALID, message, False)
