"""Environments of the engines: one folder each under the user's cache, made once."""

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from peers.engines import Unavailable

_LOCKS = Path(__file__).parent / "requirements"


def cache_folder() -> Path:
    """Where environments and converted weights are kept between runs."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"  # noqa: TID251
    return Path(base) / "text-generation-benches"


@dataclass(frozen=True)
class Environment:
    """A virtual environment that holds what `requirements/<name>.txt` locks."""

    name: str
    hashed: bool = True
    """Whether its lock has hashes."""
    build_flags: tuple[tuple[str, str], ...] = ()
    """Environment variables of the installation."""

    @property
    def python(self) -> Path:
        """Its interpreter, there once it is installed."""
        return self._folder / "bin" / "python"

    @property
    def _folder(self) -> Path:
        return cache_folder() / self.name

    def install(self) -> None:
        """Make it as its lock says, unless that was done. Raises Unavailable."""
        lock = _LOCKS / f"{self.name}.txt"
        stamp = self._folder / ".installed"
        if stamp.is_file() and stamp.read_text() == lock.read_text():
            return
        uv = shutil.which("uv")
        if uv is None:
            raise Unavailable("uv is not on the path: run it through `make bench-peers`")
        self._run(
            uv, "venv", "--quiet", "--allow-existing", "--python", sys.executable, str(self._folder)
        )
        hashes = ["--require-hashes"] if self.hashed else []
        self._run(uv, "pip", "install", "--python", str(self.python), *hashes, "-r", str(lock))
        stamp.write_text(lock.read_text())

    def _run(self, *command: str) -> None:
        variables = os.environ | dict(self.build_flags)  # noqa: TID251
        done = subprocess.run(command, env=variables, stderr=subprocess.PIPE, text=True)
        if done.returncode:
            raise Unavailable(_reason(done.stderr))


def _reason(output: str) -> str:
    """The line of an installer's output that says what is wrong."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    causes = [line for line in lines if "error" in line.lower() or "because" in line.lower()]
    return (causes or lines or ["the installer said nothing"])[-1]
