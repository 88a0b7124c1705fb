"""Drives an executor with hand-made step plans and keeps the sequences' pages itself."""

from dataclasses import dataclass, field, replace
from itertools import chain

import numpy as np
from text_generation_server._native import PagePool, SamplingParams
from text_generation_server.executor.native_executor import NativeExecutor
from text_generation_server.executor.step import Executor, Float32Array, SlotOpening, StepPlan

NO_COPIES = np.empty((0, 2), np.int32)


@dataclass
class Sequence:
    """A prompt and what was drawn after it."""

    slot: int
    tokens: list[int]
    prompt_length: int
    computed: int = 0
    pages: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)

    @property
    def drawn(self) -> list[int]:
        return self.tokens[self.prompt_length :]

    @property
    def pending(self) -> int:
        return len(self.tokens) - self.computed


class PlanDriver:
    """Pages are handed out in random order and hold NaN until they are written."""

    def __init__(self, executor: Executor, num_pages: int, num_slots: int = 64) -> None:
        self.executor = executor
        self.page_tokens = executor.facts.page_tokens
        self.pool = PagePool(num_pages, executor.facts.page_bytes)
        # All bits set is a NaN in every float type: a cell that was never written shows.
        np.frombuffer(self.pool, np.uint8)[:] = 0xFF
        executor.bind(self.pool, num_slots)
        self._free = np.random.default_rng(0).permutation(num_pages).tolist()
        self._slots = list(range(num_slots))

    def start(self, prompt: list[int]) -> Sequence:
        return Sequence(self._slots.pop(), list(prompt), len(prompt))

    def end(self, sequence: Sequence) -> None:
        self._free.extend(sequence.pages)
        self._slots.append(sequence.slot)

    def step(self, work: list[tuple[Sequence, int]], copies: np.ndarray = NO_COPIES) -> None:
        """Compute that many more tokens of each sequence; draw where all are computed."""
        plan = self.plan(work, copies)
        result = self.executor.submit(plan).wait()
        for sequence, count in work:
            sequence.computed += count
        drawing = [sequence for sequence, _ in work if not sequence.pending]
        drawn = zip(drawing, result.token_ids.tolist(), result.logprobs.tolist(), strict=True)
        for sequence, token, logprob in drawn:
            sequence.tokens.append(token)
            sequence.logprobs.append(logprob)

    def plan(self, work: list[tuple[Sequence, int]], copies: np.ndarray = NO_COPIES) -> StepPlan:
        """The plan of that step, with the pages it needs."""
        for sequence, count in work:
            while len(sequence.pages) * self.page_tokens < sequence.computed + count:
                sequence.pages.append(self._free.pop())
        tokens = [s.tokens[s.computed : s.computed + count] for s, count in work]
        starts = _starts([len(t) for t in tokens])
        drawing = [i for i, (s, count) in enumerate(work) if s.pending == count]
        opened = [work[i][0] for i in drawing if not work[i][0].logprobs]
        return StepPlan(
            copies=copies,
            tokens=np.array(list(chain(*tokens)), np.uint32),
            domains=np.zeros(starts[-1], np.uint64),
            query_starts=starts,
            context_lengths=np.array([s.computed for s, _ in work], np.int32),
            page_starts=_starts([len(s.pages) for s, _ in work]),
            pages=np.array(list(chain(*(s.pages for s, _ in work))), np.int32),
            sample_rows=starts[1:][drawing] - 1,
            sample_slots=np.array([work[i][0].slot for i in drawing], np.int32),
            slots_opened=tuple(_greedy(s) for s in opened),
        )

    def logits(self, tokens: list[int], chunk: int) -> Float32Array:
        """[tokens, vocabulary] after each token of a new sequence. Of the native executor alone."""
        assert isinstance(self.executor, NativeExecutor)
        sequence, parts = self.start(tokens), []
        while sequence.pending:
            count = min(sequence.pending, chunk)
            rows = np.arange(count, dtype=np.int32)
            plan = replace(self.plan([(sequence, count)]), sample_rows=rows)
            part = np.frombuffer(self.executor._decoder.logits(plan), np.float32)
            parts.append(part.reshape(count, -1))
            sequence.computed += count
        self.end(sequence)
        return np.concatenate(parts)

    def generate(self, prompts: list[list[int]], new_tokens: int, chunk: int) -> list[Sequence]:
        """Run all prompts together, each prefilled in chunks while others already decode."""
        sequences = [self.start(prompt) for prompt in prompts]
        running = list(sequences)
        while running:
            self.step([(s, min(s.pending, chunk)) for s in running])
            running = [s for s in running if len(s.drawn) < new_tokens]
        for sequence in sequences:
            self.end(sequence)
        return sequences


def _starts(lengths: list[int]) -> np.ndarray:
    return np.cumsum([0, *lengths]).astype(np.int32)


def _greedy(sequence: Sequence) -> SlotOpening:
    prompt = np.array(sequence.tokens, np.uint32)
    return SlotOpening(sequence.slot, SamplingParams(), prompt, np.empty(0, np.uint32))


def small_plan() -> StepPlan:
    """One token of a sequence on page 0."""
    return plan_of([1], [0, 1], [0], [0, 1], [0])


def plan_of(
    tokens: list[int],
    query_starts: list[int],
    contexts: list[int],
    page_starts: list[int],
    pages: list[int],
) -> StepPlan:
    """Wants the logits of the last token."""
    return StepPlan(
        copies=np.empty((0, 2), np.int32),
        tokens=np.array(tokens, np.uint32),
        domains=np.zeros(len(tokens), np.uint64),
        query_starts=np.array(query_starts, np.int32),
        context_lengths=np.array(contexts, np.int32),
        page_starts=np.array(page_starts, np.int32),
        pages=np.array(pages, np.int32),
        sample_rows=np.array([len(tokens) - 1], np.int32),
        sample_slots=np.zeros(1, np.int32),
    )
