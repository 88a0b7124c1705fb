"""OpenVINO GenAI's continuous batching pipeline."""

from dataclasses import dataclass

from peers.adapters.wire import Settings
from peers.engines import ADAPTERS, Variant
from peers.environment import Environment
from peers.scenarios import Scenario
from peers.weights import Weights

ENVIRONMENT = Environment("openvino")
_FORMS = ["Q4_0", "Q4_1", "Q8_0"]
_BATCH_TOKENS = 512


@dataclass(frozen=True)
class OpenVino:
    """See `engines.Engine`. Its KV type is the plugin's default."""

    weights: Weights
    threads: int
    name: str = "OpenVINO GenAI"

    def install(self) -> None:
        """See `engines.Engine.install`."""
        ENVIRONMENT.install()

    def variants(self, scenario: Scenario) -> list[Variant]:
        """See `engines.Engine.variants`."""
        forms = ["F16"] if "16-bit" in scenario.tags else _FORMS
        return [self._variant(scenario, form) for form in forms]

    def _variant(self, scenario: Scenario, form: str) -> Variant:
        model = self.weights.gguf(form)
        settings = Settings(
            model=str(model),
            threads=self.threads,
            streams=scenario.streams,
            stream_tokens=scenario.stream_tokens,
            options={"batch": _BATCH_TOKENS, "tokenizer": str(self.weights.shipped)},
        )
        command = (str(ENVIRONMENT.python), str(ADAPTERS / "openvino_peer.py"))
        size = model.stat().st_size
        return Variant(self.name, form, "u8", size, "", command, settings)
