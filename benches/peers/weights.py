"""The model's weights in the forms that engines want, made once from the shipped file."""

import subprocess
from dataclasses import dataclass
from pathlib import Path

from text_generation_server.models.source import resolve

from peers.engines import ADAPTERS, Unavailable
from peers.environment import Environment, cache_folder


@dataclass(frozen=True)
class Weights:
    """Makes forms of one GGUF file and keeps them under the cache."""

    shipped: Path
    shipped_form: str
    """Its own form, such as "Q4_1"."""
    llama_cpp: Environment

    def gguf(self, form: str) -> Path:
        """The weights as Q4_0, Q8_0 or F16, converted by llama.cpp. Raises Unavailable."""
        if form == self.shipped_form:
            return self.shipped
        target = self._target(f"{form}.gguf")
        if not target.is_file():
            self.llama_cpp.install()
            script = ADAPTERS / "llama_cpp_quantize.py"
            convert(self.llama_cpp.python, script, str(self.shipped), str(target), form)
        return target

    def folder(self) -> Path:
        """A folder in Hugging Face's layout with bf16 weights, no tokenizer. Raises ModelError."""
        target = self._target("bf16")
        if not target.is_dir():
            # Only now: it needs PyTorch.
            from peers.hugging_face import write_folder

            unfinished = Path(f"{target}.unfinished")
            write_folder(resolve(str(self.shipped)), unfinished)
            unfinished.rename(target)
        return target

    def _target(self, name: str) -> Path:
        folder = cache_folder() / "weights"
        folder.mkdir(parents=True, exist_ok=True)
        return folder / f"{self.shipped.stem}-{self.shipped.stat().st_size}-{name}"


def convert(python: Path, script: Path, source: str, target: str, form: str) -> None:
    """Run a converter in an engine's environment; what it wrote appears whole or not at all.

    Raises Unavailable.
    """
    unfinished = Path(f"{target}.unfinished")
    command = [str(python), str(script), source, str(unfinished), form]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        last = done.stderr.strip().splitlines()[-1:] or ["no word"]
        raise Unavailable(f"converting to {form} failed: {last[0]}")
    unfinished.rename(target)
