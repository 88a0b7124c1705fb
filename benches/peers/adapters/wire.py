"""How an engine under measurement is driven: one JSON object a line, over stdin and stdout.

The first line in is the `Settings`, the first line out the facts. Then each line in asks for one
run, `{"prompts": [{"text": ..., "tokens": [...]}], "new_tokens": n}`, and the line out gives
`{"arrivals": [[seconds, ...], ...]}`: for every prompt the times, since the run began, at which its
tokens came. End of input ends the process. Only the standard library is used, as each engine has
an environment of its own.
"""

import json
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

Arrivals = list[list[float]]


@dataclass(frozen=True)
class Settings:
    """What an engine is started with."""

    model: str
    """Path of the weights."""
    threads: int
    streams: int
    """Most prompts of one run."""
    stream_tokens: int
    """Most tokens of a prompt and its answer."""
    options: dict[str, Any]
    """The engine's own settings of this variant."""


class Engine(Protocol):
    """An engine in this process. What it computed before stays cached where it can keep it."""

    facts: dict[str, str]
    """What it says of itself, at least its `version`."""

    def run(self, prompts: list[list[int]], new_tokens: int) -> Arrivals:
        """Answer all prompts at once, greedily, each with exactly `new_tokens` tokens."""
        ...


def serve(load: Callable[[Settings], Engine]) -> None:
    """Load the engine that the first line asks for and answer runs until the input ends."""
    # Libraries print to descriptor 1; answers get a copy of it, and 1 becomes standard error.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    engine = load(Settings(**json.loads(sys.stdin.readline())))
    print(json.dumps(engine.facts), file=answers, flush=True)
    for line in sys.stdin:
        run = json.loads(line)
        prompts = [prompt["tokens"] for prompt in run["prompts"]]
        arrivals = engine.run(prompts, run["new_tokens"])
        print(json.dumps({"arrivals": arrivals}), file=answers, flush=True)
