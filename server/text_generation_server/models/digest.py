"""What tells a model's files from others: part of the fingerprint of everything cached of it."""

import hashlib
import time
from pathlib import Path

from text_generation_server.models.disk_cache import DiskCache
from text_generation_server.models.safetensors_file import weight_files
from text_generation_server.models.source import ModelSource

_SETTLED_NS = 1_000_000_000
"""A file that changed later than so long ago may change again without a new time stamp."""


def weights_digest(source: ModelSource, cache_dir: Path | None = None) -> str:
    """SHA-256 over the content of all files that decide what KV a prompt gets: the weights, the
    description and the tokenizer.

    About one second per GB, once: the result is kept in `cache_dir`, if there is one, as long as
    the files have the same place, size, inode and times. Raises ModelError.
    """
    if source.is_gguf:
        files = [source.path]
    else:
        fixed = [source.path / "config.json", source.path / "tokenizer.json"]
        files = [*fixed, *weight_files(source.path)]
    key, latest_ns = _state(files)
    cache = DiskCache(cache_dir if time.time_ns() - latest_ns > _SETTLED_NS else None)
    return cache.get_or_make("digest", key, lambda: _digest(files)).decode()


def _state(files: list[Path]) -> tuple[str, int]:
    """What changes whenever a file does, and when one did last."""
    stats = [(path.resolve(), path.stat()) for path in files]
    # ctime too: unlike mtime, no program sets it. No st_dev: overlays have a new one at each mount.
    key = [f"{path} {s.st_ino} {s.st_size} {s.st_mtime_ns} {s.st_ctime_ns}" for path, s in stats]
    return "\n".join(key), max(s.st_ctime_ns for _, s in stats)


def _digest(files: list[Path]) -> bytes:
    digest = hashlib.sha256()
    for path in files:
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest().encode()
