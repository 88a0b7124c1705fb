"""How long the executor computes, and how long it waits for its next step."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(slots=True)
class PaceTotals:
    """Sums since the start, in seconds."""

    execute_seconds: float = 0.0
    """Within calls of the executor."""
    gap_seconds: float = 0.0
    """From the end of a call to the start of the next, while there was work all the time."""
    gap_cpu_seconds: float = 0.0
    """CPU time of the engine's thread in those gaps; the rest it waited for a core or a lock."""
    gaps: int = 0


class Pace:
    """Times the executor's calls. Used on the engine's thread."""

    def __init__(self, clock: Callable[[], float], cpu_clock: Callable[[], float]) -> None:
        """`cpu_clock` tells the CPU time of the calling thread."""
        self._clock = clock
        self._cpu_clock = cpu_clock
        self._began = 0.0
        self._ended: tuple[float, float] | None = None
        self.totals = PaceTotals()

    def begin(self) -> None:
        """A call of the executor begins."""
        self._began = self._clock()
        if self._ended is not None:
            ended, cpu_ended = self._ended
            self.totals.gap_seconds += self._began - ended
            self.totals.gap_cpu_seconds += self._cpu_clock() - cpu_ended
            self.totals.gaps += 1

    def end(self) -> None:
        """The call is over."""
        cpu_now, now = self._cpu_clock(), self._clock()
        self.totals.execute_seconds += now - self._began
        self._ended = now, cpu_now

    def rest(self) -> None:
        """There is no work: what passes until the next call is no gap."""
        self._ended = None
