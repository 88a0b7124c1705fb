"""Processes come and go; requests and clients are told."""

import json
import signal
import threading
import time
from contextlib import suppress
from typing import Any

import httpx2
import psutil
from running_server import PATIENCE_SECONDS, RunningServer, Start, is_alive, wait_until
from texts import prose

ENDLESS = 100_000
RED_SECONDS = 5.0
# Five failures in ten minutes: see `text-generation-launcher --help`.
FAILURES = 5
EXIT_FAILED = 70


def test_killing_the_launcher_leaves_no_process(start: Start) -> None:
    with start("--executor", "oracle") as server:
        processes = server.processes()
        assert len(processes) >= 2
        server.signal(signal.SIGKILL)
        server.wait_exit()
        wait_until(lambda: not any(map(is_alive, processes)), "all processes are gone")


def test_a_killed_shard_fails_its_streams_and_comes_back(start: Start) -> None:
    with start("--executor", "oracle") as server:
        prompt = prose(40, 50)
        expected = server.generate(prompt, 8)
        shard = server.shard()
        with server.stream(prompt, ENDLESS) as events:
            assert "token" in next(events)
            shard.kill()
            killed = time.monotonic()
            *_, last = events
        assert last.keys() == {"error", "error_type"}
        assert last["error_type"] == "generation"
        assert time.monotonic() - killed < RED_SECONDS, "the stream was left hanging"
        wait_until(lambda: server.health() == 503, "health is red", RED_SECONDS)
        server.wait_ready()
        assert server.shard().pid != shard.pid
        assert server.generate(prompt, 8).ids == expected.ids


def test_a_shard_that_keeps_dying_ends_the_server(start: Start) -> None:
    with start("--executor", "oracle") as server:
        for failure in range(FAILURES):
            shard = wait_for_shard(server)
            assert server.is_running(), f"it gave up after {failure} failures"
            shard.kill()
            shard.wait()
        assert server.wait_exit() == EXIT_FAILED, server.output()


def wait_for_shard(server: RunningServer) -> psutil.Process:
    """The process of rank 0, which is started anew after a pause."""
    found: list[psutil.Process] = []

    def is_there() -> bool:
        # A process may end while it is looked at.
        with suppress(psutil.Error):
            found[:] = [p for p in server.processes() if "--rank" in p.cmdline()]
        return bool(found)

    wait_until(is_there, "a shard is started")
    return found[0]


def test_the_openai_stream_says_the_same_in_its_own_form(start: Start) -> None:
    with start("--executor", "oracle") as server:
        messages = [{"role": "user", "content": prose(41, 20)}]
        body = {"messages": messages, "stream": True, "max_tokens": ENDLESS}
        with server.http.stream("POST", "/v1/chat/completions", json=body) as response:
            events = iter(httpx2.EventSource(response))
            next(events)
            server.shard().kill()
            *_, last = (event.data for event in events)
        error = json.loads(last)["error"]
        assert error["code"] == "unavailable"


def test_a_drain_lets_running_streams_finish(start: Start) -> None:
    with start("--executor", "oracle") as server:
        prompt, length = prose(42, 50), 2000
        processes = server.processes()
        outcome: list[dict[str, Any]] = []
        with server.stream(prompt, length) as events:
            assert "token" in next(events)
            server.signal(signal.SIGTERM)
            reader = threading.Thread(target=lambda: outcome.extend(events))
            reader.start()
            wait_until(lambda: is_refused(server), "new work is refused")
            reader.join(PATIENCE_SECONDS)
        assert outcome[-1]["details"]["generated_tokens"] == length
        assert server.wait_exit() == 0, server.output()
        assert not any(map(is_alive, processes))


def is_refused(server: RunningServer) -> bool:
    """Whether a new connection gets no service."""
    try:
        health = httpx2.get(f"{server.url}/health", trust_env=False)
    except httpx2.TransportError:
        return True
    return health.status_code == 503
