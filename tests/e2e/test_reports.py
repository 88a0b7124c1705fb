"""What the launcher says in the place of serving."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from running_server import LAUNCHER, RunningServer, Start

EMBEDDED = "smollm2-135m-instruct"


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


PRINTED = ("executor", "hardware", "weights", "kv_dtype", "max_input_tokens", "max_total_tokens")
"""Of the line that says that the model is ready."""


@pytest.mark.parametrize("flags", [(), ("--quantize", "int4", "--kv-cache-dtype", "int8")])
def test_a_start_prints_what_was_planned(flags: tuple[str, ...], start: Start) -> None:
    flags = (*flags, "--kv-memory", "200MB", "--max-total-tokens", "4000")
    plan = report("--dry-run", *flags)
    with start("--json-output", *flags) as server:
        lines = [json.loads(line) for line in server.output().splitlines() if line[:1] == "{"]
        pages = server.pages()
    (printed,) = (line for line in lines if line["message"] == "the model is ready")
    assert {name: printed[name] for name in PRINTED} == {name: plan[name] for name in PRINTED}
    assert printed["kv_tokens"] == plan["kv_tokens"]
    assert sum(pages.values()) == plan["num_pages"]


def test_the_pool_is_planned_from_what_the_weights_leave(tiny_model: Path) -> None:
    small, large = (report("--dry-run", "--model-id", m) for m in (str(tiny_model), EMBEDDED))
    for plan in (small, large):
        left = plan["available_memory_bytes"] - plan["weight_bytes"]
        assert 0 <= left / 2 - plan["kv_memory_bytes"] < plan["page_bytes"]
    assert large["weight_bytes"] > 90_000_000 > small["weight_bytes"]


def test_the_environment_names_what_is_installed() -> None:
    found = report("--env")
    assert found["shard"]["packages"]["numpy"][0].isdigit()
    assert found["cores"] >= 1
    assert found["kernel"]


def test_the_printed_configuration_names_its_sources() -> None:
    found = report("--print-config", "--max-batch-size", "7")
    assert found["engine"]["max_batch_size"] == {"value": 7, "source": "flag --max-batch-size"}
    assert found["router"]["port"]["source"] == "default"
