"""`text-generation-benchmark` against a server whose counters are known."""

import fcntl
import json
import os
import pty
import re
import select
import struct
import subprocess
import termios
import time
from typing import Any

from running_server import LAUNCHER, PATIENCE_SECONDS, RunningServer

BENCHMARK = LAUNCHER.with_name("text-generation-benchmark")
SMALL = ("--prompt-tokens", "40", "--turn-tokens", "7", "--output-tokens", "5", "--turns", "3")


def run(url: str, *flags: str) -> subprocess.CompletedProcess[str]:
    """The program without a terminal."""
    command = [BENCHMARK, "--url", url, *flags]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def measured(server: RunningServer, *flags: str) -> dict[str, Any]:
    """Its JSON report."""
    done = run(server.url, "--json", *SMALL, *flags)
    assert done.returncode == 0, done.stderr
    report: dict[str, Any] = json.loads(done.stdout)
    return report


def test_the_tokens_it_counts_are_the_servers(oracle: RunningServer) -> None:
    counter = "tgi_request_generated_tokens_sum"
    before = oracle.metrics().get(counter, 0.0)
    flags = ("--concurrency", "1,4", "--requests", "12", "--seed", "71")
    report = measured(oracle, *flags)
    warm_up = 2
    counted = oracle.metrics()[counter] - before - warm_up
    levels = report["levels"]
    assert [level["concurrency"] for level in levels] == [1, 4]
    assert sum(level["output_tokens"] for level in levels) == counted == 2 * 12 * 5
    for level in levels:
        assert (level["requests"], level["failures"]) == (12, 0)
        assert level["ttft_ms"]["n"] == level["latency_ms"]["n"] == 12
        assert level["itl_ms"]["n"] == 12 * 4
        for field in ("requests", "prompt_tokens", "cached_tokens"):
            assert level[field] == sum(turn[field] for turn in level["turns"])


def test_later_turns_find_their_history_in_the_cache(oracle: RunningServer) -> None:
    # One stream: of two, the faster one begins a conversation that no request is left for.
    flags = ("--concurrency", "1", "--requests", "6", "--seed", "72")
    first, *later = measured(oracle, *flags, "--shared-prefix-tokens", "16")["levels"][0]["turns"]
    assert first["requests"] == 2
    assert first["prompt_tokens"] == 2 * 56
    # The second conversation finds the prefix.
    assert first["cached_tokens"] == 16
    for turn in later:
        new = turn["prompt_tokens"] - turn["cached_tokens"]
        # Beside its new tokens, a turn computes at most the answer's last one again.
        assert new <= turn["requests"] * (7 + 1)


def test_without_a_terminal_the_figures_are_plain_lines(oracle: RunningServer) -> None:
    done = run(oracle.url, *SMALL, "-c", "1,2", "--requests", "3")
    assert done.returncode == 0, done.stderr
    heading, *rows = done.stdout.splitlines()
    assert "TTFT p50" in heading and "\x1b" not in done.stdout
    assert [row.split()[:3] for row in rows] == [["1", "3", "0"], ["2", "3", "0"]]


def test_a_server_that_is_not_there_is_named() -> None:
    done = run("http://127.0.0.1:1")
    assert done.returncode == 1
    assert "127.0.0.1:1" in done.stderr


def test_a_terminal_shows_the_figures_live_and_q_ends_it(oracle: RunningServer) -> None:
    flags = (*SMALL, "--concurrency", "2", "--duration", "60")
    pid, terminal = pty.fork()
    if pid == 0:
        command = [str(BENCHMARK), "--url", oracle.url, *flags]
        os.execve(BENCHMARK, command, {"TERM": "xterm-256color"})
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("4H", 30, 110, 0, 0))
    seen, deadline = "", time.monotonic() + PATIENCE_SECONDS
    headings = ("Levels", "Turns", "TTFT", "ITL", "Throughput", "streams", "cached")
    asked_to_end = False
    while time.monotonic() < deadline:
        if not select.select([terminal], [], [], 0.2)[0]:
            continue
        try:
            seen += os.read(terminal, 65536).decode(errors="replace")
        except OSError:  # the terminal's other end is closed
            break
        shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", seen)
        if not asked_to_end and all(heading in shown for heading in headings):
            os.write(terminal, b"q")
            asked_to_end = True
    os.close(terminal)
    assert asked_to_end, seen
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    # The screen is given back, and the table stays on it.
    assert "\x1b[?1049l" in seen
    assert "tokens/s" in seen.rsplit("\x1b[?1049l", 1)[1]
