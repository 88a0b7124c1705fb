"""What the launcher says in the place of serving."""

import json
import subprocess
from pathlib import Path
from typing import Any

from running_server import LAUNCHER, RunningServer


def report(*flags: str) -> dict[str, Any]:
    """A report for programs."""
    command = [LAUNCHER, "--json-output", *flags]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_a_dry_run_plans_what_is_then_served(oracle: RunningServer) -> None:
    plan = report("--dry-run", "--executor", "oracle")
    info = oracle.http.get("/info").json()
    for name in ("model_id", "max_input_tokens", "max_total_tokens"):
        assert plan[name] == info[name]
    assert plan["executor"] == "oracle"
    assert plan["num_pages"] == sum(oracle.pages().values())
    assert plan["kv_memory_bytes"] == plan["num_pages"] * plan["page_bytes"]


def test_a_dry_run_takes_the_limits_that_were_given(tiny_model: Path) -> None:
    flags = ("--model-id", str(tiny_model), "--kv-memory", "1MB", "--max-total-tokens", "100")
    plan = report("--dry-run", *flags, "--max-input-tokens", "60")
    assert plan["executor"] == "native"
    assert (plan["max_input_tokens"], plan["max_total_tokens"]) == (60, 100)
    assert 0 < plan["kv_memory_bytes"] <= 1_000_000


def test_the_environment_names_what_is_installed() -> None:
    found = report("--env")
    assert found["shard"]["packages"]["numpy"][0].isdigit()
    assert found["cores"] >= 1
    assert found["kernel"]


def test_the_printed_configuration_names_its_sources() -> None:
    found = report("--print-config", "--max-batch-size", "7")
    assert found["engine"]["max_batch_size"] == {"value": 7, "source": "flag --max-batch-size"}
    assert found["router"]["port"]["source"] == "default"
