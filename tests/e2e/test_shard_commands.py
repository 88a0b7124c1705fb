"""`text-generation-server` as a command of its own: what it writes is served, and so is a model
without a launcher."""

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
from running_server import LAUNCHER, PATIENCE_SECONDS, Start, free_port, wait_until
from tiny_models import make_tiny_llama

SERVER = LAUNCHER.with_name("text-generation-server")
ROUTER = LAUNCHER.with_name("text-generation-router")


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [SERVER, *arguments], capture_output=True, text=True, timeout=PATIENCE_SECONDS
    )


@contextmanager
def running(*command: str | Path) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.terminate()
        process.communicate(timeout=PATIENCE_SECONDS)


def answer(http: httpx2.Client) -> Any:
    """Tokens with log probabilities to the last bit that JSON shows, those of the prompt too."""
    parameters = {"max_new_tokens": 20, "details": True, "decoder_input_details": True}
    body = {"inputs": "some bytes", "parameters": parameters}
    details = http.post("/generate", json=body).raise_for_status().json()["details"]
    return details["prefill"], details["tokens"]


@pytest.mark.parametrize("weights", ["int8", "int4"])
def test_a_quantized_folder_is_served_as_quantizing_at_load(
    weights: str, tmp_path: Path, start: Start
) -> None:
    source, output = tmp_path / "source", tmp_path / "output"
    make_tiny_llama(source, intermediate_size=96)
    done = run("quantize", source, output, "--quantize", weights, "--json-output")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["path"] == str(output)
    with start("--model-id", str(source), "--quantize", weights) as server:
        expected = answer(server.http)
    with start("--model-id", str(output)) as server:
        assert answer(server.http) == expected
    with start("--model-id", str(source)) as server:
        assert answer(server.http) != expected


def test_a_model_is_served_without_a_launcher(tiny_model: Path, tmp_path: Path) -> None:
    folder, port = tmp_path / "run", free_port()
    flags = ("--uds-path", folder, "--max-total-tokens", "99", "--kv-cache-dtype", "int8")
    tgi = ("--trust-remote-code", "--speculate", "2", "--no-sharded")
    config = folder / "config.json"
    with (
        running(SERVER, "serve", tiny_model, *flags, *tgi) as shard,
        httpx2.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False) as http,
    ):
        wait_until((folder / "shard-0.sock").exists, "the shard listens")
        assert folder.stat().st_mode & 0o777 == 0o700
        with running(ROUTER, "--config", config, "--port", str(port)):

            def is_ready() -> bool:
                try:
                    return http.get("/health").status_code == 200
                except httpx2.TransportError:
                    return False

            wait_until(is_ready, "the router is ready")
            assert http.get("/info").json()["max_total_tokens"] == 99
            assert len(answer(http)[1]) > 0
        second = run("serve", tiny_model, *flags)
        assert second.returncode == 66
        assert f"another shard serves in the folder {folder}" in second.stderr
        assert shard.poll() is None
    # What a shard that was killed leaves is no obstacle.
    (folder / "shard-0.sock").touch()
    with running(SERVER, "serve", tiny_model, *flags) as shard:
        wait_until((folder / "shard-0.sock").is_socket, "the shard listens again")


@pytest.mark.parametrize(
    ("arguments", "code", "error"),
    [
        ((), 2, "one of the arguments model_id --config is required"),
        (("model", "--config", "file"), 2, "not allowed with argument"),
        (("model", "--quantize", "fp8"), 66, "--quantize fp8 is not supported here: take"),
        (("model", "--num-shard", "2"), 2, "unrecognized arguments: --num-shard 2"),
        (("model", "--sharded"), 66, "--sharded is true"),
        (("there/is/no",), 66, "there is no file or folder 'there/is/no'"),
    ],
)
def test_what_cannot_be_served_is_refused(
    arguments: tuple[str, ...], code: int, error: str, tmp_path: Path
) -> None:
    done = run("serve", *arguments, "--uds-path", tmp_path / "run")
    assert done.returncode == code, done.stderr
    assert error in done.stderr and "Traceback" not in done.stderr


def test_a_folder_that_others_may_open_holds_no_socket(tiny_model: Path, tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    done = run("serve", tiny_model, "--uds-path", tmp_path)
    assert done.returncode == 66
    assert f"the folder {tmp_path} is open to other users" in done.stderr


def test_the_commands_of_tgi_explain_themselves() -> None:
    for command in ("serve", "download-weights", "quantize"):
        assert command in run("--help").stdout
        assert "--logger-level" in run(command, "--help").stdout
    assert "GPTQ" in run("quantize", "--help").stdout
