"""The time of the executor's calls and of the gaps between them, on a clock that the test moves."""

import pytest
from engine_harness import Bench, make_request, prompt
from text_generation_server.engine.pace import Pace, PaceTotals
from text_generation_server.executor.step import Executor, StepPlan, Ticket


class Slow:
    """An executor whose calls take half a second."""

    def __init__(self, executor: Executor) -> None:
        self._executor = executor
        self.facts = executor.facts
        self.bind, self.close = executor.bind, executor.close
        self.bench: Bench

    def submit(self, plan: StepPlan) -> Ticket:
        self.bench.now += 0.5
        return self._executor.submit(plan)


def slow_bench() -> Bench:
    executors = []

    def wrap(executor: Executor) -> Executor:
        executors.append(Slow(executor))
        return executors[0]

    bench = Bench(wrap=wrap)
    executors[0].bench = bench
    return bench


def test_load_sums_calls_and_the_gaps_while_there_is_work() -> None:
    bench = slow_bench()
    bench.admit(make_request(1, prompt(20), 3))
    bench.run()  # a millisecond passes before every step
    bench.now += 100.0  # idle: no gap
    bench.admit(make_request(2, prompt(20, seed=1), 2))
    bench.run()
    load = bench.engine.load()
    assert load.execute_total_seconds == pytest.approx(5 * 0.5)
    assert load.gaps == 2 + 1
    assert load.gap_total_seconds == pytest.approx(3 * 0.001)


def test_a_gap_goes_on_while_other_requests_run() -> None:
    bench = slow_bench()
    bench.admit(make_request(1, prompt(20), 3))
    bench.step()
    bench.now += 1.0
    bench.admit(make_request(2, prompt(20, seed=1), 1))
    bench.step()
    load = bench.engine.load()
    assert load.gaps == 1
    assert load.gap_total_seconds == pytest.approx(1.001)


def test_cpu_time_counts_in_gaps_alone() -> None:
    clock, cpu_clock = iter([0.0, 10.0, 13.0, 20.0]), iter([1.0, 3.0, 4.0])
    pace = Pace(lambda: next(clock), lambda: next(cpu_clock))
    pace.begin()
    pace.end()
    pace.begin()
    pace.end()
    assert pace.totals == PaceTotals(17.0, 3.0, 2.0, 1)
