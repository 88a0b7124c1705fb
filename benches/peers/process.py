"""An engine in a process of its own, driven by lines as `adapters/wire.py` describes."""

import contextlib
import json
import re
import subprocess
import tempfile
from dataclasses import asdict
from typing import Any

import psutil

from peers.adapters.wire import Arrivals, Settings
from peers.prompts import Prompt

_ERROR = re.compile(r"(\w*error|caused by):", re.IGNORECASE)
_STOP_TIMEOUT = 60.0


class EngineError(Exception):
    """The engine did not start or failed a run; the text is what it last printed."""


class EngineProcess:
    """A running engine. Use it as a context manager: leaving ends the process."""

    def __init__(self, command: tuple[str, ...], settings: Settings) -> None:
        """Raises EngineError."""
        self._errors = tempfile.TemporaryFile("w+")
        self._child = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
        )
        try:
            self.facts = self._ask(asdict(settings))
        except EngineError:
            self.close()
            raise

    def run(self, prompts: list[Prompt], new_tokens: int) -> Arrivals:
        """Answer all prompts at once. Raises EngineError."""
        order = {"prompts": [asdict(prompt) for prompt in prompts], "new_tokens": new_tokens}
        arrivals: Arrivals = self._ask(order)["arrivals"]
        return arrivals

    def cpu_seconds(self) -> float:
        """CPU time of the process and its children so far."""
        root = psutil.Process(self._child.pid)
        times = [process.cpu_times() for process in [root, *root.children(recursive=True)]]
        return sum(time.user + time.system for time in times)

    def close(self) -> None:
        """End the process and wait until it is gone."""
        assert self._child.stdin is not None and self._child.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            self._child.stdin.close()
        try:
            self._child.wait(_STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()
        self._child.stdout.close()
        self._errors.close()

    def _ask(self, question: dict[str, Any]) -> dict[str, Any]:
        assert self._child.stdin is not None and self._child.stdout is not None
        try:
            self._child.stdin.write(json.dumps(question) + "\n")
            self._child.stdin.flush()
            line = self._child.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            raise EngineError(self._last_words())
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _last_words(self) -> str:
        self._child.wait()
        self._errors.seek(0)
        lines = [line.strip() for line in self._errors if line.strip()]
        errors = [line for line in lines if _ERROR.match(line)]
        words = errors[:1] or lines[-1:]
        return words[0] if words else f"it ended with {self._child.returncode} and no word"
