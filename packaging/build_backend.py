"""PEP 517 backend: maturin's, with the three Rust programs put into the same wheel.

maturin builds the extension module of `server/native` and packs programs of other crates only from
the folder that `[tool.maturin] data` names. That folder must exist before any hook of maturin runs.
"""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import maturin
from maturin import (
    get_requires_for_build_editable,
    get_requires_for_build_wheel,
)

__all__ = [
    "build_editable",
    "build_sdist",
    "build_wheel",
    "get_requires_for_build_editable",
    "get_requires_for_build_wheel",
    "prepare_metadata_for_build_editable",
    "prepare_metadata_for_build_wheel",
]

ROOT = Path(__file__).resolve().parent.parent
SCRIPTS = ROOT / "target" / "wheel-data" / "scripts"
PROGRAMS = ("text-generation-launcher", "text-generation-router", "text-generation-benchmark")

Settings = dict[str, Any] | None


class UnsupportedOperation(Exception):
    """The exception that PEP 517 names for hooks that a source tree does not offer."""


def build_wheel(
    wheel_directory: str, config_settings: Settings = None, metadata_directory: str | None = None
) -> str:
    """Build the wheel and return its name."""
    _build_programs()
    return str(maturin.build_wheel(wheel_directory, config_settings, metadata_directory))


def build_editable(
    wheel_directory: str, config_settings: Settings = None, metadata_directory: str | None = None
) -> str:
    """Build a wheel that refers to this source tree and return its name."""
    _build_programs()
    return str(maturin.build_editable(wheel_directory, config_settings, metadata_directory))


def prepare_metadata_for_build_wheel(
    metadata_directory: str, config_settings: Settings = None
) -> str:
    """Write the wheel's metadata and return its folder."""
    SCRIPTS.mkdir(parents=True, exist_ok=True)
    return str(maturin.prepare_metadata_for_build_wheel(metadata_directory, config_settings))


prepare_metadata_for_build_editable = prepare_metadata_for_build_wheel


def build_sdist(sdist_directory: str, config_settings: Settings = None) -> str:
    """Refuse: maturin's source archives lack the crates of the three programs."""
    raise UnsupportedOperation("there are no source archives: build a wheel from the repository")


def _build_programs() -> None:
    """Build the programs and copy them to where maturin packs them from."""
    crates = [argument for program in PROGRAMS for argument in ("-p", program)]
    _cargo("build", "--release", "--locked", *crates)
    SCRIPTS.mkdir(parents=True, exist_ok=True)
    release = Path(_metadata()["target_directory"]) / "release"
    for program in PROGRAMS:
        shutil.copy2(release / program, SCRIPTS / program)


def _metadata() -> dict[str, Any]:
    text = _cargo("metadata", "--format-version", "1", "--no-deps", stdout=subprocess.PIPE).stdout
    return dict(json.loads(text))


def _cargo(*arguments: str, stdout: int | None = None) -> subprocess.CompletedProcess[bytes]:
    try:
        return subprocess.run(["cargo", *arguments], cwd=ROOT, check=True, stdout=stdout)
    except FileNotFoundError as error:
        raise RuntimeError("cargo is not on PATH: install Rust from https://rustup.rs") from error
