"""The result as a Markdown table."""

import statistics
from collections.abc import Iterable
from dataclasses import asdict

from peers.limits import Shape, share_of_limit
from peers.measure import Outcome, Row

_HEADER = (
    "scenario",
    "engine",
    "weights",
    "KV",
    "unit",
    "median",
    "spread",
    "ours is",
    "of the limit",
)


def render(outcomes: Iterable[Outcome], ours: set[str], shape: Shape) -> str:
    """One line for each scenario and engine.

    ours: names of this server's engines; their "ours is" compares with the best of the others.
    """
    lines = [_line(_HEADER), _line("---" for _ in _HEADER)]
    for outcome in outcomes:
        best = _best(outcome, [row for row in outcome.rows if row.variant.engine not in ours])
        for row in filter(lambda row: row.figures, outcome.rows):
            against = best if row.variant.engine in ours else None
            lines.append(_line(_cells(outcome, row, against, shape)))
    return "\n".join(lines)


def tried(outcomes: Iterable[Outcome]) -> str:
    """What each engine's variants gave in their first run, from which the best was taken."""
    return "\n".join(
        f"- {outcome.scenario.name}, {row.variant.engine}: "
        + ", ".join(f"{label} {figure:,.4g}" for label, figure in row.tried.items())
        for outcome in outcomes
        for row in outcome.rows
    )


def as_json(outcome: Outcome) -> dict[str, object]:
    """Every figure of a scenario, for other programs."""
    return {
        "scenario": outcome.scenario.name,
        "unit": outcome.scenario.unit,
        "limits": [asdict(limits) for limits in outcome.limits],
        "notes": outcome.notes,
        "engines": [
            {
                "engine": row.variant.engine,
                "weights": row.variant.weights,
                "kv": row.variant.kv,
                "facts": row.facts,
                "tried": row.tried,
                "figures": row.figures,
            }
            for row in outcome.rows
        ],
    }


def _best(outcome: Outcome, rows: list[Row]) -> float | None:
    medians = [statistics.median(row.figures) for row in rows if row.figures]
    choose = max if outcome.scenario.higher_is_better else min
    return choose(medians, default=None)


def _cells(outcome: Outcome, row: Row, against: float | None, shape: Shape) -> list[str]:
    scenario, variant = outcome.scenario, row.variant
    median = statistics.median(row.figures)
    share = share_of_limit(outcome, row, shape)
    return [
        scenario.title,
        variant.engine,
        variant.label,
        variant.kv,
        scenario.unit,
        f"{median:,.4g}" if median < 1000 else f"{median:,.0f}",
        f"{_spread(row.figures, median):.0%}",
        f"{scenario.ratio(median, against):.2f} x" if against else "",
        f"{share:.0%}" if share else "",
    ]


def _spread(figures: list[float], median: float) -> float:
    """Distance between the quartiles, as a share of the median."""
    if len(figures) < 2:
        return 0.0
    low, _, high = statistics.quantiles(figures, n=4, method="inclusive")
    return (high - low) / median


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"
