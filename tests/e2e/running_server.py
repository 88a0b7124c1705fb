"""A server as its operator starts it: the launcher, its processes, and its HTTP surface."""

import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import httpx2
import psutil

LAUNCHER = Path(sys.executable).parent / "text-generation-launcher"
# Bounds on what hangs, not on what is slow: the machine may be busy.
PATIENCE_SECONDS = 60.0
STARTUP_SECONDS = 120.0
STOP_SECONDS = 60.0


@dataclass(frozen=True)
class Answer:
    """A greedy answer of a native route."""

    ids: list[int]
    text: str
    prompt_tokens: int
    cached_tokens: int


@dataclass(frozen=True)
class ChatPrompt:
    """A conversation as the model sees it."""

    ids: list[int]
    text: str


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def wait_until(condition: Callable[[], bool], what: str, seconds: float = PATIENCE_SECONDS) -> None:
    """Fail unless the condition comes true in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"after {seconds} s still not: {what}"
        time.sleep(0.02)


def is_alive(process: psutil.Process) -> bool:
    """Whether it is more than an entry that nobody has waited for."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


class RunningServer:
    """A launcher with its shards; ends with the `with` block."""

    def __init__(self, log: Path, *arguments: str, port: int | None = None) -> None:
        """Start the launcher with these flags, on a free port by default; its output goes to
        `log`."""
        self.port = free_port() if port is None else port
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = log
        # Nobody but the test looks at the health routes.
        quick = () if "--lame-duck" in arguments else ("--lame-duck", "0")
        with log.open("wb") as output:
            self._launcher = subprocess.Popen(
                [LAUNCHER, "--port", str(self.port), *quick, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        self.http = httpx2.Client(base_url=self.url, timeout=300.0, trust_env=False)

    def __enter__(self) -> Self:
        try:
            self.wait_ready()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """End every process that is left."""
        processes = self.processes()
        self.http.close()
        self._launcher.terminate()
        try:
            self._launcher.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._launcher.kill()
            self._launcher.wait()
        for process in processes:
            with suppress(psutil.NoSuchProcess):
                process.kill()

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the launcher."""
        self._launcher.send_signal(number)

    def is_running(self) -> bool:
        """Whether the launcher lives."""
        return self._launcher.poll() is None

    def wait_exit(self, seconds: float = STOP_SECONDS) -> int:
        """The launcher's exit code, once it has ended by itself."""
        return self._launcher.wait(seconds)

    def output(self) -> str:
        """What the launcher and its shards printed so far."""
        return self.log.read_text(errors="replace")

    def health(self) -> int:
        """Status of the health route; 0 when nobody listens."""
        try:
            return self.http.get("/health").status_code
        except httpx2.TransportError:
            return 0

    def wait_ready(self, seconds: float = STARTUP_SECONDS) -> None:
        """Wait for green health, unless the launcher ends before."""

        def is_ready() -> bool:
            assert self._launcher.poll() is None, f"the launcher ended:\n{self.output()}"
            return self.health() == 200

        wait_until(is_ready, "the server is ready", seconds)

    def processes(self) -> list[psutil.Process]:
        """The launcher and what descends from it."""
        try:
            launcher = psutil.Process(self._launcher.pid)
            return [launcher, *launcher.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []

    def shard(self) -> psutil.Process:
        """The process of rank 0."""
        return next(p for p in self.processes() if "--rank" in p.cmdline())

    def metrics(self) -> dict[str, float]:
        """Metrics by series, such as `tgi_pages{state="free"}`."""
        lines = self.http.get("/metrics").text.splitlines()
        pairs = (line.rsplit(" ", 1) for line in lines if line and not line.startswith("#"))
        return {series: float(value) for series, value in pairs}

    def pages(self) -> dict[str, int]:
        """Pages of the pool by state."""
        metrics = self.metrics()
        states = ("free", "cached", "referenced")
        return {state: int(metrics[f'tgi_pages{{state="{state}"}}']) for state in states}

    def tokenize(self, text: str) -> list[int]:
        """Token ids as the native routes see the text."""
        response = self.http.post("/tokenize", json={"inputs": text})
        return [token["id"] for token in response.raise_for_status().json()]

    def chat_prompt(self, messages: list[dict[str, str]]) -> ChatPrompt:
        """The rendered conversation."""
        response = self.http.post("/chat_tokenize", json={"messages": messages})
        body = response.raise_for_status().json()
        ids = [token["id"] for token in body["tokenize_response"]]
        return ChatPrompt(ids, body["templated_text"])

    def generate(self, prompt: str, max_new_tokens: int, **parameters: Any) -> Answer:
        """The greedy answer to a prompt, with the ids of its tokens."""
        body = native_request(prompt, max_new_tokens, **parameters)
        response = self.http.post("/generate", json=body).raise_for_status()
        answer = response.json()
        return Answer(
            ids=[token["id"] for token in answer["details"]["tokens"]],
            text=answer["generated_text"],
            prompt_tokens=int(response.headers["x-prompt-tokens"]),
            cached_tokens=answer["details"]["cached_tokens"],
        )

    @contextmanager
    def stream(self, prompt: str, max_new_tokens: int) -> Iterator[Iterator[dict[str, Any]]]:
        """The events of a greedy answer, as they come."""
        body = native_request(prompt, max_new_tokens)
        with self.http.stream("POST", "/generate_stream", json=body) as response:
            response.raise_for_status()
            yield (json.loads(event.data) for event in httpx2.EventSource(response))


def native_request(prompt: str, max_new_tokens: int, **parameters: Any) -> dict[str, Any]:
    """A greedy request of the native routes that reports its tokens."""
    fixed = {"max_new_tokens": max_new_tokens, "details": True}
    return {"inputs": prompt, "parameters": fixed | parameters}


Start = Callable[..., RunningServer]
"""Starts a server with these flags; `with` waits until it is ready."""
