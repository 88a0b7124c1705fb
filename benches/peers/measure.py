"""One scenario over all engines: choose each one's best variant, then take turns.

A first, uncounted run of every variant chooses the best of its engine. Then the engines take
turns, one run each a round, in an order that rotates, so that all see the same machine; while one
runs, the others wait for their next line and use no processor, which is checked.
"""

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from peers.engines import Engine, Unavailable, Variant
from peers.machine import Limits
from peers.process import EngineError, EngineProcess
from peers.prompts import PromptSource
from peers.scenarios import Scenario, Workload

_WARM_UP_TOKENS = 64
_IDLE_SHARE, _IDLE_SECONDS = 0.02, 0.05
"""Processor time that idle engines may use in a run: a share of it, and what clocks cannot tell."""


@dataclass
class Row:
    """An engine in a scenario."""

    variant: Variant
    tried: dict[str, float]
    """First figure of every variant, by label."""
    facts: dict[str, object]
    """What the engine says of itself."""
    figures: list[float] = field(default_factory=list)


@dataclass
class Outcome:
    """A measured scenario."""

    scenario: Scenario
    rows: list[Row] = field(default_factory=list)
    limits: list[Limits] = field(default_factory=list)
    """What the machine could do, measured in every round."""
    notes: list[str] = field(default_factory=list)

    def note(self, who: str, what: object) -> None:
        """Something that readers of the table must know."""
        self.notes.append(f"{self.scenario.name}: {who}: {what}")
        _say(self.notes[-1])


@dataclass
class _Running:
    """An engine's best variant, loaded and warm."""

    row: Row
    process: EngineProcess


class Meter:
    """Measures scenarios; remembers what was best, for scenarios that are alike."""

    def __init__(
        self,
        engines: list[Engine],
        source: PromptSource,
        rounds: int,
        limits: Callable[[], Limits],
    ) -> None:
        self._engines = engines
        self._limits = limits
        self._source = source
        self._rounds = rounds
        self._chosen: dict[tuple[str, str], str] = {}

    def measure(self, scenario: Scenario) -> Outcome:
        """Run a scenario on every engine that can."""
        outcome = Outcome(scenario)
        work = scenario.draw(scenario, self._source)
        with contextlib.ExitStack() as stack:
            running = []
            for engine in self._engines:
                with _noted(outcome, engine.name):
                    best = self._best(engine, scenario, work, outcome)
                    stack.callback(best.process.close)
                    running.append(best)
                    outcome.rows.append(best.row)
            for number in range(1, self._rounds + 1):
                outcome.limits.append(self._limits())
                _round(running, work, number, outcome)
        return outcome

    def _best(
        self, engine: Engine, scenario: Scenario, work: Workload, outcome: Outcome
    ) -> _Running:
        """Try the engine's variants; the best one stays loaded. Raises Unavailable."""
        best: _Running | None = None
        tried: dict[str, float] = {}
        for variant in self._candidates(engine, scenario):
            with _noted(outcome, f"{engine.name}, {variant.label}"):
                process = EngineProcess(variant.command, variant.settings)
                figure = self._first(process, scenario, work)
                tried[variant.label] = figure
                new = _Running(Row(variant, tried, process.facts), process)
                best, worse = _ordered(scenario, new, best)
                if worse:
                    worse.process.close()
                _say(f"{scenario.name}: {engine.name}, {variant.label}: {figure:.1f}")
        if best is None:
            raise Unavailable("no variant of it runs")
        self._chosen[scenario.name, engine.name] = best.row.variant.weights
        return best

    def _candidates(self, engine: Engine, scenario: Scenario) -> list[Variant]:
        variants = engine.variants(scenario)
        chosen = self._chosen.get((scenario.like or "", engine.name))
        return [v for v in variants if v.weights == chosen] or variants

    def _first(self, process: EngineProcess, scenario: Scenario, work: Workload) -> float:
        """Warm up, compute what the scenario needs beforehand, and run it once."""
        try:
            process.run([self._source.draw(_WARM_UP_TOKENS)], 2)
            for prompts in work.prepared:
                process.run(prompts, 1)
            return _run(process, scenario, work, 0)
        except EngineError:
            process.close()
            raise


def _ordered(
    scenario: Scenario, new: _Running, best: _Running | None
) -> tuple[_Running, _Running | None]:
    """The better of two variants by their first figures, then the other."""
    if best is None:
        return new, None
    figures = new.row.tried
    gain = scenario.ratio(figures[new.row.variant.label], figures[best.row.variant.label])
    return (new, best) if gain > 1 else (best, new)


def _round(running: list[_Running], work: Workload, number: int, outcome: Outcome) -> None:
    """Let every engine run once; one that fails is out."""
    shift = number % max(len(running), 1)
    for turn in running[shift:] + running[:shift]:
        others = [other.process for other in running if other is not turn]
        before = sum(other.cpu_seconds() for other in others)
        began = time.monotonic()
        try:
            figure = _run(turn.process, outcome.scenario, work, number)
        except EngineError as error:
            outcome.note(turn.row.variant.engine, error)
            running.remove(turn)
            continue
        turn.row.figures.append(figure)
        used = sum(other.cpu_seconds() for other in others) - before
        if used > _IDLE_SECONDS + _IDLE_SHARE * (time.monotonic() - began):
            outcome.note(turn.row.variant.engine, f"idle engines used {used:.2f} s of processor")


def _run(process: EngineProcess, scenario: Scenario, work: Workload, number: int) -> float:
    prompts = work.timed(number)
    return scenario.figure(prompts, process.run(prompts, work.new_tokens))


@contextlib.contextmanager
def _noted(outcome: Outcome, who: str) -> Iterator[None]:
    """An engine that fails is a note below the table, not the end of the bench."""
    try:
        yield
    except (EngineError, Unavailable) as error:
        outcome.note(who, error)


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
