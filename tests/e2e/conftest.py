"""Servers that several tests share, and the models they serve."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from running_server import RunningServer, Start

ROOT = Path(__file__).parents[2]
# For tiny_models, which the shard's own tests share.
sys.path.append(str(ROOT / "server" / "tests"))


def pytest_addoption(parser: pytest.Parser) -> None:
    """How much of the surface `test_openapi.py` tries."""
    parser.addoption("--fuzz-requests", type=int, default=240, help="requests made at random")


@pytest.fixture(scope="session")
def oracle(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """The exact integer model with SmolLM2's tokenizer."""
    log = tmp_path_factory.mktemp("oracle") / "log"
    with RunningServer(log, "--executor", "oracle") as server:
        yield server


@pytest.fixture(scope="session")
def smollm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """SmolLM2-135M-Instruct on native kernels: what a launcher without flags serves."""
    log = tmp_path_factory.mktemp("smollm") / "log"
    with RunningServer(log) as server:
        yield server


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts servers of the test's own; gives each as it starts, not yet ready."""
    servers: list[RunningServer] = []

    def start_server(*arguments: str, port: int | None = None) -> RunningServer:
        server = RunningServer(tmp_path / f"log-{len(servers)}", *arguments, port=port)
        servers.append(server)
        return server

    yield start_server
    for server in servers:
        server.close()


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a tiny random Llama; tests that change it copy it first."""
    from tiny_models import make_tiny_llama

    folder = tmp_path_factory.mktemp("tiny-llama")
    make_tiny_llama(folder)
    return folder
