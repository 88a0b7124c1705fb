"""llama.cpp, compiled for this machine, in the process of its Python binding."""

from dataclasses import dataclass

from peers.adapters.wire import Settings
from peers.engines import ADAPTERS, Variant
from peers.environment import Environment
from peers.scenarios import Scenario
from peers.weights import Weights

ENVIRONMENT = Environment(
    "llama-cpp", build_flags=(("CMAKE_ARGS", "-DGGML_NATIVE=ON -DGGML_OPENMP=ON"),)
)
_FORMS = ["Q4_0", "Q4_1", "Q8_0"]
_BATCH_TOKENS = 512


@dataclass(frozen=True)
class LlamaCpp:
    """See `engines.Engine`. Q4_0 is the form that its repacked, fastest kernels take."""

    weights: Weights
    threads: int
    name: str = "llama.cpp"

    def install(self) -> None:
        """See `engines.Engine.install`; compiles for minutes."""
        ENVIRONMENT.install()

    def variants(self, scenario: Scenario) -> list[Variant]:
        """See `engines.Engine.variants`. Separate sequences are fastest in buffers of their own;
        for shared ones both ways are tried."""
        forms = ["F16"] if "16-bit" in scenario.tags else _FORMS
        layouts = [False, True] if "shared" in scenario.tags else [False]
        return [self._variant(scenario, form, unified) for form in forms for unified in layouts]

    def _variant(self, scenario: Scenario, form: str, unified: bool) -> Variant:
        options = {"batch": _BATCH_TOKENS, "flash": "on", "kv": "f16", "unified": unified}
        model = self.weights.gguf(form)
        settings = Settings(
            model=str(model),
            threads=self.threads,
            streams=scenario.streams,
            stream_tokens=scenario.stream_tokens,
            options=options,
        )
        adapter = str(ADAPTERS / "llama_cpp_peer.py")
        command = (str(ENVIRONMENT.python), adapter)
        note = "one KV buffer" if unified else ""
        size = model.stat().st_size
        return Variant(self.name, form, "f16", size, note, command, settings)
