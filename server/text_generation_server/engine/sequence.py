"""A request in the engine: its tokens, how far they are computed, what it holds."""

from enum import Enum

import numpy as np

from text_generation_server.engine.grammar import Constraint
from text_generation_server.engine.request import (
    Progress,
    PromptLogprobs,
    Receipt,
    Request,
    TokenLogprobs,
)
from text_generation_server.executor.step import SlotOpening, Uint32Array

PROGRESS_SECONDS = 0.25
"""Least time between two reports of one prefill, and before the first."""


class Phase(Enum):
    """Where a sequence is. Only those in prefill and decode hold pages and a sampler slot."""

    WAITING = "waiting"
    PREFILLING = "prefilling"
    DECODING = "decoding"
    FINISHED = "finished"


class Sequence:
    """The engine's record of one request. Mutated by scheduler and engine only, on one thread.

    Tokens [0, computed) have KV in the sequence's pages; a decoding sequence has exactly one token
    that is not computed, the last one drawn.
    """

    __slots__ = (
        "_tokens",
        "cached_tokens",
        "cancelled",
        "computed",
        "constraint",
        "first_scheduled",
        "first_token",
        "handle",
        "keep_tokens",
        "last_token",
        "leader",
        "leader_length",
        "length",
        "phase",
        "preemptions",
        "progress_at",
        "request",
        "scored",
        "slot",
        "slot_open",
        "steps_passed_over",
    )

    def __init__(self, request: Request, constraint: Constraint | None = None) -> None:
        self.request = request
        self.constraint = constraint
        """What the answer must follow; goes on with each token, and survives preemption."""
        self._tokens = np.empty(max(request.max_length, len(request.tokens)), dtype=np.uint32)
        self._tokens[: len(request.tokens)] = request.tokens
        self.length = len(request.tokens)
        self.computed = 0
        self.phase = Phase.WAITING
        self.handle: int | None = None
        self.slot: int | None = None
        self.slot_open = False
        self.leader: Sequence | None = None
        """The sequence in prefill whose tokens this one waits for instead of computing them."""
        self.leader_length = 0
        """How many committed tokens of the leader this one waits for."""
        self.steps_passed_over = 0
        """Steps in prefill without a chunk since the last one; ages its turn."""
        self.cancelled = False
        self.keep_tokens: int | None = None
        self.cached_tokens = 0
        self.preemptions = 0
        self.scored = 0
        """Rows of the prompt whose logits have been looked at, if somebody asked for that."""
        self.first_scheduled: float | None = None
        self.progress_at: float | None = None
        self.first_token: float | None = None
        self.last_token: float | None = None

    @property
    def generated(self) -> int:
        """Answer tokens so far."""
        return self.length - self.request.prompt_length

    @property
    def remaining(self) -> int:
        """Tokens to compute before the next one can be drawn."""
        return self.length - self.computed

    @property
    def may_draw(self) -> bool:
        """Whether it is known which tokens may come next."""
        return self.constraint is None or self.constraint.ready

    @property
    def match_limit(self) -> int:
        """Tokens that may come from the cache: not the last one, whose logits give the next, nor
        those whose own logits are wanted."""
        if self.request.prompt_logprobs:
            return min(self.scored, self.length - 1)
        return self.length - 1

    def unscored(self, stop: int) -> range:
        """Positions below `stop` of prompt tokens whose rows tell about the token behind them and
        are wanted for that."""
        if not self.request.prompt_logprobs:
            return range(0)
        return range(self.scored, min(stop, self.request.prompt_length - 1))

    def accept_scores(self, scores: tuple[TokenLogprobs, ...]) -> list[PromptLogprobs]:
        """Note the scores of the next rows; gives them as an event."""
        if not scores:
            return []
        start = self.scored + 1
        self.scored += len(scores)
        return [PromptLogprobs(self.request.id, start, scores)]

    def progress(self, now: float) -> list[Progress]:
        """How far the prefill is, when that is asked for and was not told lately."""
        if not self.request.progress or self.first_token is not None:
            return []
        started = self.first_scheduled
        assert started is not None
        if now - (self.progress_at or started) < PROGRESS_SECONDS:
            return []
        self.progress_at = now
        pace = (now - started) / max(self.computed - self.cached_tokens, 1)
        cached = min(self.cached_tokens, self.computed)
        eta = pace * self.remaining
        return [Progress(self.request.id, cached, self.computed, self.length, eta)]

    def tokens(self, start: int, stop: int) -> Uint32Array:
        """The tokens of a range, as a view."""
        return self._tokens[start:stop]

    def append(self, token_id: int) -> None:
        """Add a drawn token."""
        self._tokens[self.length] = token_id
        self.length += 1

    def kept_length(self) -> int:
        """Tokens that may enter the cache: prompt and the part of the answer that stands."""
        if self.keep_tokens is None:
            return self.length
        return min(self.length, self.request.prompt_length + self.keep_tokens)

    def common_prefix(self, other: "Sequence", start: int) -> int:
        """Length of the longest common prefix, given that the first `start` tokens are equal.
        Domains count as part of a token."""
        stop = min(self.length, other.length)
        if start >= stop:
            return stop
        differs = self._tokens[start:stop] != other._tokens[start:stop]
        differs |= self.request.domains.per_token(start, stop) != other.request.domains.per_token(
            start, stop
        )
        return start + int(differs.argmax()) if differs.any() else stop

    def slot_opening(self) -> SlotOpening:
        """What its sampler slot starts from; only what its penalties and its watermark look at."""
        assert self.slot is not None
        params, prompt_length = self.request.params, self.request.prompt_length
        counts_prompt = params.repetition_penalty != 1.0
        counts_answer = counts_prompt or params.frequency_penalty or params.presence_penalty
        first, last = 0 if counts_prompt else prompt_length, prompt_length
        if counts_answer:
            last = self.length
        if params.watermark_delta:  # looks at the last token, which no penalty counts
            first, last = min(first, prompt_length - 1), self.length
        return SlotOpening(
            self.slot,
            params,
            self._tokens[first:prompt_length],
            self._tokens[prompt_length:last],
        )

    def receipt(self) -> Receipt:
        """Times and cache use so far."""
        scheduled, first, last = self.first_scheduled, self.first_token, self.last_token
        return Receipt(
            cached_tokens=min(self.cached_tokens, self.request.prompt_length),
            wait=scheduled - self.request.arrival if scheduled is not None else 0.0,
            prefill=first - scheduled if first is not None and scheduled is not None else 0.0,
            decode=last - first if last is not None and first is not None else 0.0,
            preemptions=self.preemptions,
        )
