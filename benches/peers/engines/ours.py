"""This server: the launcher and its HTTP interface, driven by the load generator."""

from dataclasses import dataclass

from peers.adapters.wire import Settings
from peers.engines import Variant
from peers.scenarios import Scenario
from peers.weights import Weights


@dataclass(frozen=True)
class Form:
    """A form of the weights to run on."""

    name: str
    bits: float
    """Of one weight, scales included."""
    flags: tuple[str, ...] = ()


FORMS = (Form("int4", 5.7), Form("int8", 8, ("--quantize", "int8")))
"""The shipped Q4_1 with its 8-bit embedding as it is, and requantized."""
SIXTEEN_BIT = (Form("bf16", 16),)


@dataclass(frozen=True)
class Ours:
    """See `engines.Engine`."""

    weights: Weights
    threads: int
    bench: str
    """The load generator's path."""
    launcher: str
    parameters: int
    """Weights of the model."""
    kv: str
    """Type of keys and values."""
    flags: tuple[str, ...]
    """Flags of every start."""
    name: str

    def install(self) -> None:
        """See `engines.Engine.install`: it is built already."""

    def variants(self, scenario: Scenario) -> list[Variant]:
        """See `engines.Engine.variants`."""
        sixteen_bit = "16-bit" in scenario.tags
        model = self.weights.gguf("F16") if sixteen_bit else self.weights.shipped
        return [
            self._variant(scenario, str(model), form)
            for form in (SIXTEEN_BIT if sixteen_bit else FORMS)
        ]

    def _variant(self, scenario: Scenario, model: str, form: Form) -> Variant:
        settings = Settings(
            model=model,
            threads=self.threads,
            streams=scenario.streams,
            stream_tokens=scenario.stream_tokens,
            options={"flags": [*form.flags, *self.flags]},
        )
        command = (self.bench, "drive", "--launcher", self.launcher)
        size = self.parameters * form.bits / 8
        return Variant(self.name, form.name, self.kv, size, "", command, settings)
