"""The Grafana dashboard shows metrics and labels that there are."""

import json
import re
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs"
HISTOGRAM_SERIES = "_bucket"


def expressions() -> list[str]:
    dashboard = json.loads((DOCS / "grafana" / "dashboard.json").read_text())
    return [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]


def metrics() -> dict[str, tuple[str, str]]:
    """Kind and labels of each metric on the generated page."""
    rows = [line.split(" | ") for line in (DOCS / "metrics.md").read_text().splitlines()]
    return {row[0].strip("| `"): (row[1], row[3]) for row in rows if row[0].startswith("| `")}


def test_every_metric_of_the_dashboard_is_there() -> None:
    known = metrics()
    used = {name for text in expressions() for name in re.findall(r"\btgi_\w+", text)}
    assert len(used) > 15
    for name in used:
        metric = name.removesuffix(HISTOGRAM_SERIES)
        assert metric in known, name
        is_histogram = known[metric][0] == "histogram"
        assert name.endswith(HISTOGRAM_SERIES) == is_histogram, name


def test_every_label_of_the_dashboard_is_there() -> None:
    known = metrics()
    for text in expressions():
        labels = re.findall(r"by \(([^)]*)\)", text)
        for label in {label.strip() for group in labels for label in group.split(",")} - {"le"}:
            (name,) = set(re.findall(r"\btgi_\w+", text))
            assert f"`{label}`" in known[name][1], (name, label)
