"""Small results derived from a model's files, kept on disk between runs.

A cache in the strict sense: a missing, damaged or foreign file is made again, a disk that cannot be
written costs only time.
"""

import hashlib
import logging
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

logger = logging.getLogger(__name__)

ENTRIES_OF_A_KIND = 32
"""The oldest files beyond so many are removed."""

_DIGEST_BYTES = 32


class DiskCache:
    """Files in one folder, each with the SHA-256 of what it was kept under and of its content."""

    def __init__(self, folder: Path | None) -> None:
        """folder: made when it is needed; None: nothing is kept."""
        self._folder = folder

    def get_or_make(self, kind: str, key: str, make: Callable[[], bytes]) -> bytes:
        """What was kept of this kind under this key, else what `make` gives, kept from now on.

        kind: a word for a file's name. key: all that the content depends on. Raises what `make`
        raises.
        """
        if self._folder is None:
            return make()
        path = self._folder / f"{kind}-{hashlib.sha256(key.encode()).hexdigest()[:32]}"
        content = _read(path, key)
        if content is None:
            content = make()
            self._keep(path, key, content)
            self._remove_old(kind)
        return content

    def _keep(self, path: Path, key: str, content: bytes) -> None:
        try:
            with replacing(path) as file:
                file.write(_digest(key, content) + content)
        except OSError as error:
            logger.warning("cannot write to the cache %s: %s", path.parent, error.strerror)

    def _remove_old(self, kind: str) -> None:
        assert self._folder is not None, "called for a folder"
        try:
            paths = sorted(self._folder.glob(f"{kind}-*"), key=lambda path: path.stat().st_mtime)
            for path in paths[:-ENTRIES_OF_A_KIND]:
                path.unlink(missing_ok=True)
        except OSError:  # another process removed one first: the next start tries again
            return


def _digest(key: str, content: bytes) -> bytes:
    digest = hashlib.sha256(key.encode() + b"\0")
    digest.update(content)
    return digest.digest()


def _read(path: Path, key: str) -> bytes | None:
    try:
        stored = path.read_bytes()
    except OSError:
        return None
    content = stored[_DIGEST_BYTES:]
    return content if stored[:_DIGEST_BYTES] == _digest(key, content) else None


@contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """A file that takes the place of `path` when the block ends without an error: whoever reads
    meanwhile sees the old one or the whole new one. Makes the folder. Raises OSError."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".", delete=False) as file:
        try:
            yield file
            file.flush()
            os.replace(file.name, path)
        except BaseException:
            os.unlink(file.name)
            raise
