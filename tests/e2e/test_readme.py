"""What README.md tells a new user to try works as it stands there."""

import re
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest
from running_server import RunningServer

ROOT = Path(__file__).parents[2]
ADDRESS = "127.0.0.1:3000"


def blocks(language: str) -> list[str]:
    text = (ROOT / "README.md").read_text()
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def run(server: RunningServer, *command: str) -> str:
    """What a command prints, this server's address in the place of README's."""
    own = [part.replace(ADDRESS, f"127.0.0.1:{server.port}") for part in command]
    assert own != list(command), f"it does not name {ADDRESS}"
    done = subprocess.run(own, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_receipt_counts_all_that_was_said_before(smollm: RunningServer) -> None:
    (script,) = blocks("python")
    lines = run(smollm, sys.executable, "-c", script).splitlines()
    turns = [tuple(map(int, re.findall(r"\d+", line))) for line in lines]
    assert len(turns) == 3
    for (before, _), (_, cached) in pairwise(turns):
        # Where the template ends a prompt otherwise than it begins an answer, a few tokens differ.
        assert cached > before - 8


@pytest.mark.parametrize("command", [block for block in blocks("sh") if block.startswith("curl")])
def test_the_commands_are_answered(smollm: RunningServer, command: str) -> None:
    answer = run(smollm, "bash", "-euc", command.replace("curl ", "curl --fail --silent ", 1))
    assert "generated_text" in answer or '"role":"assistant"' in answer
