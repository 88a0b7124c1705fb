"""The engines that are compared, one file each behind the interface below."""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from peers.adapters.wire import Settings
from peers.scenarios import Scenario

ADAPTERS = Path(__file__).parents[1] / "adapters"


class Unavailable(Exception):
    """An engine or a form of the weights cannot be had here; the text says why."""


@dataclass(frozen=True)
class Variant:
    """One way to run an engine: a command with its settings."""

    engine: str
    weights: str
    """Form of the weights, as the table shows it."""
    kv: str
    weight_bytes: float
    """What a step reads of them."""
    note: str
    """What else tells it from its siblings, "" for nothing."""
    command: tuple[str, ...]
    settings: Settings

    @property
    def label(self) -> str:
        """Tells variants of one engine apart."""
        return f"{self.weights}, {self.note}" if self.note else self.weights


class Engine(Protocol):
    """An engine that can be measured."""

    @property
    def name(self) -> str:
        """As the table shows it."""
        ...

    def install(self) -> None:
        """Bring it into its own environment, once. Raises Unavailable."""
        ...

    def variants(self, scenario: Scenario) -> list[Variant]:
        """The ways worth trying in a scenario. Raises Unavailable."""
        ...
