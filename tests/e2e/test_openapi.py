"""The server answers as `/openapi.json` says, whatever it is sent.

schemathesis makes requests out of the description, most of them valid but for one place, and
compares each answer with it: no status but the described ones, no fault of the server, no body or
event of another shape. The default suite sends some hundreds, `make fuzz-api` 20,000.
"""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from running_server import RunningServer, Start

HERE = Path(__file__).parent
SCHEMATHESIS = HERE.parents[1] / ".venv-conformance-clients" / "bin" / "schemathesis"
CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "unsupported_method",
)
# Requests of one run: generation slows down as a run grows.
ROUND = 500
# Rather too few: some operations run out of requests early.
OPERATIONS_WITH_INPUT = 12
SEED = 20_000


def fuzz(server: RunningServer, requests: int, seed: int, folder: Path) -> dict[str, Any]:
    """Send about so many requests; the report of schemathesis."""
    report = folder / "report.json"
    options = {
        "--checks": ",".join(CHECKS),
        "--phases": "examples,fuzzing",
        "--max-examples": str(-(-requests // OPERATIONS_WITH_INPUT)),
        "--seed": str(seed),
        "--report": "json",
        "--report-json-path": str(report),
        "--suppress-health-check": "all",
        "--warnings": "off",
        "--request-timeout": "60",
    }
    arguments = [argument for option in options.items() for argument in option]
    hooks = (f"PYTHONPATH={HERE}", "SCHEMATHESIS_HOOKS=fuzz_hooks")
    command = ("env", *hooks, SCHEMATHESIS, "run")
    run = subprocess.run(
        [*command, f"{server.url}/openapi.json", "--continue-on-failure", *arguments],
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout
    result: dict[str, Any] = json.loads(report.read_text())
    assert result["test_cases"]["generated"] > 0, run.stdout
    return result


@pytest.mark.timeout(3600)
def test_every_answer_is_as_described(
    start: Start, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    requests = request.config.getoption("--fuzz-requests")
    if not SCHEMATHESIS.exists():
        # A sample may be left out, a whole run must not look as if it had been.
        refuse = pytest.fail if requests > ROUND else pytest.skip
        refuse("the environment .venv-conformance-clients is absent: `make test` creates it")
    flags = ("--executor", "oracle", "--max-input-tokens", "192", "--max-total-tokens", "256")
    with start(*flags) as server:
        reports: list[dict[str, Any]] = []
        while (sent := sum(one["test_cases"]["generated"] for one in reports)) < requests:
            seed = SEED + len(reports)
            reports.append(fuzz(server, min(requests - sent, ROUND), seed, tmp_path))
        assert server.health() == 200
        pages = server.pages()
    print(f"{sent} requests in {len(reports)} rounds")
    rates = [rates for report in reports for rates in report["valid_rates"].values()]
    # Requests that are all refused would not show much.
    phases = [phase for one in rates for phase in one.values()]
    accepted, rejected = (sum(p[kind] for p in phases) for kind in ("accepted", "rejected"))
    assert accepted > rejected
    assert pages["referenced"] == 0
