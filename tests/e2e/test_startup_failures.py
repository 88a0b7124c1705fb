"""A server that cannot start says why and ends with the documented exit code."""

import shutil
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from running_server import Start

EXIT_CONFIG = 64
EXIT_MODEL = 66
EXIT_PORT = 69


def truncate(path: Path) -> None:
    """Cut a file in half."""
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def change_architecture(folder: Path) -> None:
    """Let the model claim to be something else."""
    from tiny_models import edit_json

    edit_json(folder / "config.json", architectures=["MambaForCausalLM"], model_type="mamba")


def poison(folder: Path) -> None:
    """A weight that is not a number."""
    from safetensors.torch import load_file, save_file

    weights = load_file(folder / "model.safetensors")
    weights["model.norm.weight"][0] = float("nan")
    save_file(weights, folder / "model.safetensors")


FAULTS: dict[str, tuple[Callable[[Path], None], str]] = {
    "weights missing": (lambda folder: (folder / "model.safetensors").unlink(), "safetensors"),
    "weights truncated": (lambda folder: truncate(folder / "model.safetensors"), "safetensors"),
    "config truncated": (lambda folder: truncate(folder / "config.json"), "config.json"),
    "tokenizer missing": (lambda folder: (folder / "tokenizer.json").unlink(), "tokenizer"),
    "unsupported architecture": (change_architecture, "Mamba"),
    "poisoned weights": (poison, "model.norm.weight"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_bad_model_is_named(fault: str, tiny_model: Path, tmp_path: Path, start: Start) -> None:
    break_it, mention = FAULTS[fault]
    folder = shutil.copytree(tiny_model, tmp_path / "model")
    break_it(folder)
    server = start("--model-id", str(folder))
    assert server.wait_exit() == EXIT_MODEL, server.output()
    assert mention in server.output()
    assert "Traceback" not in server.output()


def test_a_missing_model_is_named(tmp_path: Path, start: Start) -> None:
    folder = tmp_path / "absent"
    server = start("--model-id", str(folder))
    assert server.wait_exit() == EXIT_MODEL, server.output()
    assert str(folder) in server.output()
    assert "Traceback" not in server.output()


def test_a_port_in_use_is_named_at_once(start: Start) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        server = start("--executor", "oracle", port=port)
        assert server.wait_exit() == EXIT_PORT, server.output()
        assert str(port) in server.output()


def test_all_bad_flags_are_named_at_once(start: Start) -> None:
    server = start(
        "--max-input-tokens", "9", "--max-total-tokens", "5", "--validation-workers", "0"
    )
    assert server.wait_exit() == EXIT_CONFIG, server.output()
    for mention in ("max-input-tokens", "validation-workers"):
        assert mention in server.output()
