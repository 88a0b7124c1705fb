"""A file's bytes, mapped: nothing is read before it is looked at, and nothing is copied."""

import mmap
from pathlib import Path

import numpy as np
import numpy.typing as npt

from text_generation_server.models.errors import ModelError

Bytes = npt.NDArray[np.uint8]


def map_file(path: Path) -> Bytes:
    """[file size] the content, read-only; the mapping lives as long as a view of it.

    Raises ModelError for a file that is empty or cannot be opened. The file must not be shortened
    meanwhile: the system ends a process that reads beyond the end of a mapped file.
    """
    try:
        with path.open("rb") as file:
            mapping = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except OSError as error:
        raise ModelError(f"{path} cannot be opened: {error.strerror}") from error
    except ValueError as error:
        raise ModelError(f"{path} is empty: download it again") from error
    return np.frombuffer(mapping, np.uint8)
