"""The image for CPUs, run as its operator runs it: read-only, without privileges, on a volume."""

import json
import re
import shutil
import subprocess
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import httpx2
import pytest

IMAGE = "text-generation-server"
# Without the model, which is a layer of its own.
LARGEST_IMAGE = 400 * 10**6
READY_SECONDS = 120.0
CHAT = {"messages": [{"role": "user", "content": "Name a river."}], "max_tokens": 8}


def is_built() -> bool:
    """Whether a Docker engine answers and has the image."""
    if shutil.which("docker") is None:
        return False
    inspected = subprocess.run(["docker", "image", "inspect", IMAGE], capture_output=True)
    return inspected.returncode == 0


pytestmark = pytest.mark.skipif(not is_built(), reason="no image: `make test-docker` builds it")


def docker(*arguments: str) -> str:
    """What a docker command prints."""
    done = subprocess.run(["docker", *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"docker {arguments}: {done.stderr}"
    return done.stdout.strip()


def wait_until(condition: Callable[[], bool], what: str) -> None:
    """Fail unless the condition comes true in time."""
    deadline = time.monotonic() + READY_SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"after {READY_SECONDS} s still not: {what}"
        time.sleep(0.2)


@dataclass(frozen=True)
class Container:
    """A running server."""

    name: str

    @contextmanager
    def http(self) -> Iterator[httpx2.Client]:
        """A client of the published port, which changes with every start."""
        address = docker("port", self.name, "80").splitlines()[0]
        with httpx2.Client(base_url=f"http://{address}", timeout=60.0, trust_env=False) as client:
            yield client

    def is_ready(self) -> bool:
        """Whether the model answers."""
        try:
            with self.http() as http:
                return http.get("/health").status_code == 200
        except httpx2.HTTPError:
            return False

    def wait_ready(self) -> None:
        """Wait for the model."""
        wait_until(self.is_ready, "ready")


@pytest.fixture(scope="module")
def container() -> Iterator[Container]:
    name = f"text-generation-test-{uuid.uuid4().hex[:8]}"
    hardened = ("--read-only", "--tmpfs", "/tmp", "--cap-drop", "ALL")
    privileges = ("--security-opt", "no-new-privileges")
    where = ("--publish", "127.0.0.1::80", "--volume", f"{name}:/data")
    docker("run", "--detach", "--name", name, *hardened, *privileges, *where, IMAGE)
    try:
        started = Container(name)
        started.wait_ready()
        yield started
    finally:
        docker("rm", "--force", name)
        docker("volume", "rm", name)


def test_is_small_without_its_model() -> None:
    whole = int(docker("image", "inspect", "--format", "{{.Size}}", IMAGE))
    rows = docker("history", "--human=false", "--no-trunc", "--format", "{{json .}}", IMAGE)
    layers = [json.loads(row) for row in rows.splitlines()]
    model = sum(int(layer["Size"]) for layer in layers if "/opt/model" in layer["CreatedBy"])
    assert model > 50 * 10**6, "the model's layer was not found"
    assert whole - model < LARGEST_IMAGE


def test_answers_through_the_published_port(container: Container) -> None:
    with container.http() as http:
        answer = http.post("/v1/chat/completions", json=CHAT).raise_for_status().json()
    assert answer["usage"]["completion_tokens"] > 0
    assert answer["choices"][0]["message"]["content"]


def test_runs_as_a_plain_user_and_becomes_healthy(container: Container) -> None:
    assert docker("exec", container.name, "id", "-u") == "1000"
    state = ("inspect", "--format", "{{.State.Health.Status}}", container.name)
    wait_until(lambda: docker(*state) == "healthy", "healthy")


def test_a_running_stream_ends_before_the_container_and_data_stay(container: Container) -> None:
    files = docker("exec", container.name, "find", "/data", "-type", "f")
    assert files, "nothing was kept in /data"
    body = {"inputs": "Once", "parameters": {"max_new_tokens": 400, "ignore_eos": True}}
    with container.http() as http, http.stream("POST", "/generate_stream", json=body) as stream:
        lines = stream.iter_lines()
        next(line for line in lines if line.startswith("data:"))
        stop = threading.Thread(target=docker, args=("stop", "--time", "100", container.name))
        stop.start()
        events = 1 + sum(line.startswith("data:") for line in lines)
    stop.join()
    assert events == 400
    assert docker("inspect", "--format", "{{.State.ExitCode}}", container.name) == "0"
    docker("start", container.name)
    container.wait_ready()
    assert docker("exec", container.name, "find", "/data", "-type", "f") == files


def test_says_that_it_listens_beyond_the_container(container: Container) -> None:
    logs = subprocess.run(["docker", "logs", container.name], capture_output=True, text=True)
    assert re.search(r"0\.0\.0\.0:80", logs.stdout + logs.stderr)
