"""Decides what each step computes. Pure: knows pages and tokens, no tensors, no clock.

Order within `schedule`, each with its side effects:
  1. admit    waiting sequences in order, while a batch slot and pages for the whole prompt are
              free; opens them in the page cache
  2. decode   one token for every decoding sequence, the senior first; one whose grammar has not
              said yet what may come next sits the step out
  3. prefill  chunks in what is left of the token budget, short rests first

Seniority is the order of arrival and survives preemption. When pages run out, the most junior
running sequence gives its pages up (they stay in the cache while there is room) and goes back to
the front of the waiting line; a sequence never preempts its senior. So the most senior sequence
always advances, and because no request is admitted that could not run alone, all finish.
"""

import logging
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from text_generation_server._native import PageCache
from text_generation_server.engine.sequence import Phase, Sequence

logger = logging.getLogger(__name__)

PATIENCE = 4
"""Steps that shorter rests may pass a prompt over before it goes first."""

MAX_SCORED_ROWS = 64
"""Rows of a step that tell about prompt tokens: each takes a row of logits in memory."""

LOOKAHEAD = 4
"""Requests the router may send ahead of a free place, so that none is empty for a round trip."""


@dataclass(frozen=True, slots=True)
class SchedulerLimits:
    """Bounds of one step."""

    max_batch_size: int
    """Sequences."""
    max_step_tokens: int
    """Tokens."""


class Chunk(NamedTuple):
    """What one sequence computes in a step: `length` tokens from `sequence.computed` on."""

    sequence: Sequence
    length: int
    draws: bool
    """Whether it ends the sequence, so that the step draws the next token."""
    copies: tuple[tuple[int, int], ...]
    """Page copies (source, destination) to make first."""
    scored: range
    """Positions whose logits tell about the prompt token behind them."""


class Scheduler:
    """Owner of the waiting line and of the running sequences."""

    def __init__(self, cache: PageCache, limits: SchedulerLimits) -> None:
        self._cache = cache
        self._limits = limits
        self._waiting: deque[Sequence] = deque()
        self._running: list[Sequence] = []  # in order of seniority
        self._free_slots = list(reversed(range(limits.max_batch_size)))
        self._preempted = 0

    @property
    def waiting(self) -> int:
        """Sequences that wait to start."""
        return len(self._waiting)

    @property
    def preemptions(self) -> int:
        """Preemptions since the start."""
        return self._preempted

    def running(self, phase: Phase) -> int:
        """Sequences in a phase."""
        return sum(sequence.phase is phase for sequence in self._running)

    def credit(self) -> int:
        """Requests the router may have here without a terminal event."""
        places = len(self._running) if self._waiting else self._limits.max_batch_size
        return places + LOOKAHEAD

    def add(self, sequence: Sequence) -> None:
        """Put a new sequence at the end of the waiting line."""
        self._waiting.append(sequence)

    def remove(self, sequence: Sequence) -> None:
        """Forget a sequence and free what it holds. Tokens not committed by now are not kept."""
        if sequence.phase is Phase.WAITING:
            self._waiting.remove(sequence)
        else:
            self._running.remove(sequence)
            self._release(sequence)
        sequence.phase = Phase.FINISHED

    def schedule(self) -> list[Chunk]:
        """Choose the chunks of the next step and reserve their pages."""
        self._admit()
        chunks: dict[Sequence, Chunk] = {}
        for sequence in [s for s in self._running if s.phase is Phase.DECODING]:
            # Not preempted by a senior meanwhile.
            if sequence.phase is Phase.DECODING and sequence.may_draw:
                self._place(sequence, 1, chunks)
        budget = max(self._limits.max_step_tokens - len(chunks), 1)
        scores = MAX_SCORED_ROWS
        for sequence in self._prefill_order():
            length = min(sequence.remaining - (not sequence.may_draw), budget)
            if sequence.unscored(sequence.length):
                length = min(length, scores)
                scores -= length
            sequence.steps_passed_over += 1
            if length and sequence.phase is Phase.PREFILLING:
                budget -= self._place(sequence, length, chunks)
        return list(chunks.values())

    # Admission

    def _admit(self) -> None:
        while self._waiting and len(self._running) < self._limits.max_batch_size:
            sequence = self._waiting[0]
            self._open(sequence)
            if self._running and not self._fits(sequence):
                self._close(sequence)
                return
            self._waiting.popleft()
            self._start(sequence)

    def _start(self, sequence: Sequence) -> None:
        sequence.phase = Phase.PREFILLING
        sequence.slot = self._free_slots.pop()
        sequence.slot_open = False
        sequence.steps_passed_over = 0
        self._follow(sequence)
        self._running.append(sequence)

    def _open(self, sequence: Sequence) -> None:
        tokens = sequence.tokens(0, sequence.length)
        pairs = sequence.request.domains.pairs(0, sequence.length)
        sequence.handle = self._cache.open(tokens, pairs, sequence.match_limit)
        self._take_match(sequence, self._cache.cached_tokens(sequence.handle))

    @staticmethod
    def _take_match(sequence: Sequence, cached: int) -> None:
        sequence.computed = cached
        if sequence.first_scheduled is None:
            sequence.cached_tokens = cached

    def _fits(self, sequence: Sequence) -> bool:
        """Whether the rest of its prompt finds pages beside those promised to running sequences,
        with one page of growth left for each of these."""
        counts = self._cache.counts()
        promised = sum(self._pages_wanted(s) for s in self._running) + len(self._running)
        return self._pages_wanted(sequence) + promised <= counts.free + counts.cached

    def _pages_wanted(self, sequence: Sequence) -> int:
        assert sequence.handle is not None
        page_tokens = self._cache.page_tokens
        pages = -(-sequence.length // page_tokens) - self._cache.num_pages(sequence.handle)
        ends_inside_page = sequence.computed % page_tokens != 0
        return max(pages, 0) + ends_inside_page

    # Waiting for an equal prompt in flight

    def _follow(self, sequence: Sequence) -> None:
        """Let a sequence wait for one in prefill that will commit the same tokens next."""
        if sequence.match_limit < sequence.length - 1:
            return
        assert sequence.handle is not None
        node = self._cache.node(sequence.handle)
        best, best_length = None, sequence.computed + self._cache.page_tokens - 1
        for other in self._running:
            if other is sequence or other.phase is not Phase.PREFILLING or other.leader is not None:
                continue
            assert other.handle is not None
            if self._cache.node(other.handle) != node:
                continue
            length = min(sequence.common_prefix(other, sequence.computed), sequence.length - 1)
            if length > best_length:
                best, best_length = other, length
        sequence.leader, sequence.leader_length = best, best_length if best else 0

    def _leader_has_more(self, sequence: Sequence) -> bool:
        leader = sequence.leader
        return (
            leader is not None
            and leader.phase is Phase.PREFILLING
            and leader.computed < sequence.leader_length
        )

    # Prefill

    def _prefill_order(self) -> list[Sequence]:
        """Prefilling sequences that compute for themselves: first those passed over too often, the
        longest first, then the shortest rest."""

        def turn(sequence: Sequence) -> tuple[int, int]:
            overdue = max(sequence.steps_passed_over - PATIENCE + 1, 0)
            return -overdue, sequence.remaining

        return sorted(self._computing(), key=turn)

    def _computing(self) -> Iterator[Sequence]:
        for sequence in self._running:
            if sequence.phase is not Phase.PREFILLING or self._leader_has_more(sequence):
                continue
            if sequence.leader is not None:
                assert sequence.handle is not None
                self._take_match(sequence, self._cache.rematch(sequence.handle))
                self._follow(sequence)
                if sequence.leader is not None:
                    continue
            yield sequence

    # Pages

    def _place(self, sequence: Sequence, length: int, chunks: dict[Sequence, Chunk]) -> int:
        """Reserve pages for a chunk, at the cost of junior sequences if it must be, and add it.
        Returns the tokens placed: `length`, or 0 when the sequence has to wait."""
        assert sequence.handle is not None
        while True:
            copies = self._cache.reserve(sequence.handle, sequence.computed + length)
            if copies is not None:
                draws = length == sequence.remaining
                scored = sequence.unscored(sequence.computed + length)
                chunks[sequence] = Chunk(sequence, length, draws, tuple(copies), scored)
                sequence.steps_passed_over = 0
                return length
            victim = self._running[-1]
            if victim is sequence and sequence.phase is Phase.PREFILLING and len(self._running) > 1:
                return 0  # its seniors will finish; it keeps what it has computed
            self._preempt(victim)
            chunks.pop(victim, None)
            if victim is sequence:
                return 0

    def _preempt(self, sequence: Sequence) -> None:
        fields = sequence.request.log_fields
        logger.info("preempted at %d tokens: pages ran out", sequence.computed, extra=fields)
        self.commit(sequence, sequence.computed)
        self._running.remove(sequence)
        self._release(sequence)
        sequence.phase = Phase.WAITING
        sequence.preemptions += 1
        self._preempted += 1
        self._waiting.appendleft(sequence)

    def commit(self, sequence: Sequence, length: int) -> None:
        """Put the computed tokens up to `length` into the cache, where they are not there yet."""
        assert sequence.handle is not None
        start = self._cache.committed_tokens(sequence.handle)
        if start < length:
            pairs = sequence.request.domains.pairs(start, length)
            self._cache.commit(sequence.handle, sequence.tokens(start, length), pairs)

    def _close(self, sequence: Sequence) -> None:
        assert sequence.handle is not None
        self._cache.close(sequence.handle)
        sequence.handle = None
        sequence.computed = 0

    def _release(self, sequence: Sequence) -> None:
        assert sequence.slot is not None
        self._close(sequence)
        sequence.leader = None
        self._free_slots.append(sequence.slot)
        sequence.slot = None
