"""A GGUF file (llama.cpp's single-file format): its metadata and its tensors, mapped.

Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md; the rules on counts, alignment
and offsets are those of ggml's gguf.cpp. Everything is checked when the file is opened; strings
and arrays are decoded when they are asked for. What metadata and names mean is `gguf_spec`'s.
"""

import hashlib
import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from text_generation_server.models.errors import ModelError
from text_generation_server.models.gguf_cursor import Cursor, DamagedError
from text_generation_server.models.mapped_file import map_file
from text_generation_server.models.raw_tensor import RawTensor, TensorType

_MAGIC = b"GGUF"
_VERSIONS = (2, 3)
_ALIGNMENT_KEY = "general.alignment"
_DEFAULT_ALIGNMENT = 32
_MAX_DIMENSIONS = 4
_MAX_KEY_BYTES = 65_535
# The least bytes that an entry of each list takes: a count that cannot fit is refused at once.
_MIN_METADATA_BYTES = 8 + 4 + 1
_MIN_TENSOR_BYTES = 8 + 4 + 8 + 4 + 8


# By the number that stands for them in the file (ggml_type).
_TENSOR_TYPES = {
    0: TensorType.F32,
    1: TensorType.F16,
    2: TensorType.Q4_0,
    3: TensorType.Q4_1,
    6: TensorType.Q5_0,
    8: TensorType.Q8_0,
    12: TensorType.Q4_K,
    13: TensorType.Q5_K,
    14: TensorType.Q6_K,
    30: TensorType.BF16,
}


@dataclass(frozen=True, slots=True)
class _TensorInfo:
    """Where a tensor's bytes are, and what they are."""

    type: TensorType
    shape: tuple[int, ...]
    """As NumPy has it: rows before columns, the reverse of ggml's."""
    offset: int
    """From the start of the data section."""

    @property
    def size(self) -> int:
        """Bytes. Raises ValueError when a row is no whole blocks."""
        return math.prod(self.shape[:-1]) * self.type.row_bytes(self.shape[-1])


class GgufFile:
    """A checked GGUF file; metadata and tensors stay on disk (mapped) until they are read."""

    def __init__(self, path: Path) -> None:
        """Raises ModelError for a file that is not a whole GGUF of this machine's byte order."""
        self.path = path
        self._bytes = map_file(path)
        self._values: dict[str, Any] = {}
        try:
            self._open(Cursor(memoryview(self._bytes)))
        except (DamagedError, ValueError) as error:  # ValueError: an unknown kind, no UTF-8
            raise ModelError(
                f"{path} is truncated or not a GGUF file ({error}): download it again"
            ) from error

    def _open(self, cursor: Cursor) -> None:
        num_tensors, num_values = _read_counts(cursor)
        for _ in range(num_values):
            key = cursor.text(_MAX_KEY_BYTES)
            if key in self._values:
                raise DamagedError(f"the metadata key {key} is there twice")
            self._values[key] = cursor.value()
        self._metadata_end = cursor.position
        self._tensors = self._read_tensors(cursor, num_tensors)
        alignment = _alignment(self._values.get(_ALIGNMENT_KEY, _DEFAULT_ALIGNMENT))
        self._data_start = -(-cursor.position // alignment) * alignment
        self._check_places(alignment)

    def _read_tensors(self, cursor: Cursor, count: int) -> dict[str, _TensorInfo]:
        tensors: dict[str, _TensorInfo] = {}
        for _ in range(count):
            name = cursor.text(_MAX_KEY_BYTES)
            if name in tensors:
                raise DamagedError(f"the tensor {name} is there twice")
            tensors[name] = self._read_info(cursor, name)
        return tensors

    def _read_info(self, cursor: Cursor, name: str) -> _TensorInfo:
        num_dimensions = cursor.uint32()
        if not 1 <= num_dimensions <= _MAX_DIMENSIONS:
            raise DamagedError(f"the tensor {name} has {num_dimensions} dimensions")
        sizes = [cursor.uint64() for _ in range(num_dimensions)]
        number = cursor.uint32()
        if number not in _TENSOR_TYPES:
            known = ", ".join(kind.upper() for kind in _TENSOR_TYPES.values())
            raise ModelError(
                f"{self.path}: the tensor {name} has the ggml type {number}, which is not "
                f"supported: serve a GGUF with tensors of {known}"
            )
        return _TensorInfo(_TENSOR_TYPES[number], tuple(reversed(sizes)), cursor.uint64())

    def _check_places(self, alignment: int) -> None:
        """As llama.cpp: each tensor starts where the one before ends, rounded up."""
        expected = 0
        for name, info in self._tensors.items():
            size = info.size
            if size == 0 or info.offset != expected:
                raise DamagedError(
                    f"the tensor {name} has {size} bytes from {info.offset} on, expected {expected}"
                )
            if size > len(self._bytes) - self._data_start - info.offset:
                raise DamagedError(f"the tensor {name} ends beyond the file")
            expected += -(-size // alignment) * alignment

    def get(self, key: str, default: Any = None) -> Any:
        """A metadata value: str, int, float, bool, a list of one of the last three, or a
        `gguf_cursor.StringArray`."""
        value = self._values.get(key, default)
        return value.tolist() if isinstance(value, np.ndarray) else value

    def require(self, key: str, default: Any = None) -> Any:
        """A metadata value. Raises ModelError when there is none, neither here nor as default."""
        value = self.get(key, default)
        if value is None:
            raise ModelError(f"{self.path} has no metadata key {key}: it is no complete model")
        return value

    def metadata_digest(self) -> str:
        """SHA-256 over all of the file that is not tensors."""
        return hashlib.sha256(self._bytes[: self._metadata_end]).hexdigest()

    @property
    def tensor_names(self) -> Iterable[str]:
        """Names of all tensors, as the file has them."""
        return self._tensors.keys()

    def tensor(self, name: str) -> RawTensor:
        """A tensor, its data in the mapped file."""
        info = self._tensors[name]
        start = self._data_start + info.offset
        content = self._bytes[start : start + info.size]
        return RawTensor.from_bytes(name, info.type, info.shape, content)

    def float_vector(self, name: str) -> list[float]:
        """The values of a small F32 tensor. Raises ModelError for another type."""
        tensor = self.tensor(name)
        if tensor.type is not TensorType.F32:
            raise ModelError(f"{self.path}: the tensor {name} is {tensor.type}, must be f32")
        return tensor.data.reshape(-1).view("<f4").tolist()


def _read_counts(cursor: Cursor) -> tuple[int, int]:
    """How many tensors and metadata values there are."""
    if bytes(cursor.file[: len(_MAGIC)]) != _MAGIC:
        raise DamagedError("it does not begin with GGUF")
    cursor.skip(len(_MAGIC))
    version = cursor.uint32()
    if version not in _VERSIONS:
        raise DamagedError(f"its version is {version:#x}, only 2 and 3 (little endian) are read")
    return cursor.count(_MIN_TENSOR_BYTES), cursor.count(_MIN_METADATA_BYTES)


def _alignment(value: Any) -> int:
    if type(value) is not int or value < 1 or value & (value - 1):
        raise DamagedError(f"{_ALIGNMENT_KEY} is {value!r}, must be a power of 2")
    return value
