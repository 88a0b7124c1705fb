"""Follows grammars: which tokens an answer may go on with.

A `Constraint` belongs to one sequence. Its work, from making the parser to the mask of the next
token, is done on few threads of its own, where llguidance lets go of the GIL: the engine asks
whether a mask is ready and never computes one.
"""

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from llguidance import LLMatcher, LLParserLimits, LLTokenizer

from text_generation_server.executor.step import Uint32Array

NUM_THREADS = 2

STACK_PER_BYTE = 1024
LEAST_STACK_BYTES = 16 * 1024 * 1024
"""Stack of a thread for each byte of the longest grammar, as in the router: rules that name each
other are read by recursion. What is not used costs no memory."""


@dataclass(frozen=True, slots=True)
class GrammarLimits:
    """Bounds of llguidance's parsers."""

    max_bytes: int
    """Text of one grammar."""
    max_size: int
    """Symbols in productions."""
    max_fuel: int
    """Nodes of regular expressions when a lexer is built."""
    max_lexer_states: int
    max_step_items: int
    """What the parser makes for one mask; bounds the time that other masks wait for it."""


class GrammarError(Exception):
    """A grammar that cannot be followed, or not any further; the text says why."""


class Grammars:
    """Makes the constraints of one model."""

    def __init__(
        self, make_tokenizer: Callable[[], LLTokenizer], vocab_size: int, limits: GrammarLimits
    ) -> None:
        """make_tokenizer: for `vocab_size` tokens; takes a second or so, and runs on a thread of
        this object. When it fails, so does every request with a grammar."""
        self._mask_words = -(-vocab_size // 32)
        self._limits = LLParserLimits(
            max_grammar_size=limits.max_size,
            initial_lexer_fuel=limits.max_fuel,
            max_lexer_states=limits.max_lexer_states,
            step_max_items=limits.max_step_items,
            verbose_errors=False,
        )
        self._pool = _make_pool(max(limits.max_bytes * STACK_PER_BYTE, LEAST_STACK_BYTES))
        self._tokenizer = self._pool.submit(make_tokenizer)

    def start(self, source: str, answer: Uint32Array) -> "Constraint":
        """Follow a grammar (the JSON of llguidance) from behind the answer's tokens so far."""
        return Constraint(self._pool, lambda: self._matcher(source, answer), self._mask_words)

    def _matcher(self, source: str, answer: Uint32Array) -> LLMatcher:
        matcher = LLMatcher(self._tokenizer.result(), source, log_level=0, limits=self._limits)
        matcher.consume_tokens(answer.tolist())
        return matcher


def _make_pool(stack_bytes: int) -> ThreadPoolExecutor:
    """A pool whose threads are all there, each with a stack of this size."""
    pool = ThreadPoolExecutor(NUM_THREADS, thread_name_prefix="grammar")
    all_started = threading.Barrier(NUM_THREADS + 1)
    before = threading.stack_size(stack_bytes)
    try:
        for _ in range(NUM_THREADS):
            pool.submit(all_started.wait)
    finally:
        threading.stack_size(before)
    all_started.wait()
    return pool


class Constraint:
    """Where one answer stands in its grammar. Used by the engine's thread alone."""

    def __init__(
        self, pool: ThreadPoolExecutor, make: Callable[[], LLMatcher], mask_words: int
    ) -> None:
        self._pool = pool
        self._mask_words = mask_words
        self._matcher: LLMatcher | None = None  # touched by one job at a time
        self.pending: Future[Uint32Array] = pool.submit(self._begin, make)
        """The mask of the next token, to wait for."""

    @property
    def ready(self) -> bool:
        """Whether the next token may be drawn, or never will."""
        return self.pending.done()

    @property
    def error(self) -> BaseException | None:
        """Why the grammar cannot be followed, once that is known."""
        return self.pending.exception() if self.ready else None

    def mask(self) -> Uint32Array:
        """[ceil(vocabulary / 32)] the tokens that may be drawn next, as in `StepPlan.masks`."""
        return self.pending.result()

    def advance(self, token_id: int) -> None:
        """Go on behind a token that the mask allowed."""
        self.pending = self._pool.submit(self._next, token_id)

    def _begin(self, make: Callable[[], LLMatcher]) -> Uint32Array:
        self._matcher = make()
        return self._mask(self._matcher)

    def _next(self, token_id: int) -> Uint32Array:
        assert self._matcher is not None
        self._matcher.consume_token(token_id)
        return self._mask(self._matcher)

    def _mask(self, matcher: LLMatcher) -> Uint32Array:
        """Where the grammar is at its end, the mask allows end-of-text tokens only."""
        mask = matcher.compute_bitmask()
        if matcher.is_error():
            raise GrammarError(matcher.get_error().replace("<non-verbose/>", "").strip())
        # llguidance adds a word of padding.
        return np.frombuffer(mask, np.uint32, self._mask_words)
