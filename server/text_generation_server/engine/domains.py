"""Cache domains of a sequence's tokens.

A domain says who may share KV: two paths are equal only where tokens and domains are. A sequence is
a run of spans; the last span goes on over the answer.
"""

from collections.abc import Sequence as Run
from typing import Self

import numpy as np

from text_generation_server.executor.step import Uint64Array

PUBLIC = 0


class DomainSpans:
    """Spans of (domain, length) that cover a prompt, in order; immutable."""

    __slots__ = ("_domains", "_ends")

    def __init__(self, spans: Run[tuple[int, int]]) -> None:
        """Raises ValueError when there is no span or one of length 0."""
        if not spans or any(length <= 0 for _, length in spans):
            raise ValueError(f"domain spans must be non-empty, got lengths {[n for _, n in spans]}")
        self._domains = np.array([domain for domain, _ in spans], dtype=np.uint64)
        self._ends = np.cumsum([length for _, length in spans], dtype=np.int64)

    @classmethod
    def public(cls, length: int) -> Self:
        """All tokens shareable by everyone."""
        return cls([(PUBLIC, length)])

    @property
    def length(self) -> int:
        """Tokens the spans were given for; the last span's domain holds beyond."""
        return int(self._ends[-1])

    def per_token(self, start: int, stop: int) -> Uint64Array:
        """[stop - start] the domain of each token in the range."""
        if len(self._domains) == 1:
            return self._domains.repeat(stop - start)  # a third of the time of np.full
        positions = np.arange(start, stop)
        spans = np.searchsorted(self._ends[:-1], positions, side="right")
        return self._domains[spans]

    def pairs(self, start: int, stop: int) -> Uint64Array:
        """[2 * spans] (domain, length) of the range, as the page cache wants them."""
        if start >= stop:
            return np.empty(0, dtype=np.uint64)
        ends = np.append(self._ends[:-1], max(stop, self.length))
        lengths = np.minimum(ends, stop) - np.maximum(np.concatenate(([0], ends[:-1])), start)
        kept = lengths > 0
        return np.column_stack((self._domains[kept], lengths[kept].astype(np.uint64))).ravel()
