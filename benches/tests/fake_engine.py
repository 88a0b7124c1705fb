"""An engine for tests: token i of prompt p comes at p + i seconds; a prompt of 13 tokens fails."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "peers" / "adapters"))

from wire import Arrivals, Settings, serve


class FakeEngine:
    """See `wire.Engine`. Each token of its first prompt makes it slower by `options["slow"]`."""

    def __init__(self, settings: Settings) -> None:
        print("libraries print where answers go")
        if settings.model == "absent":
            raise FileNotFoundError("there is no such model")
        self.facts = {"version": "0"}
        self._slow = settings.options["slow"]

    def run(self, prompts: list[list[int]], new_tokens: int) -> Arrivals:
        """See `wire.Engine.run`."""
        if any(len(prompt) == 13 for prompt in prompts):
            raise ValueError("13 tokens are not supported")
        return [
            [self._slow * (p + i + 1.0) for i in range(new_tokens)] for p in range(len(prompts))
        ]


if __name__ == "__main__":
    serve(FakeEngine)
