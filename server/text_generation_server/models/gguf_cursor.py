"""Reads the primitive values of a GGUF file, never beyond its end."""

import struct
from collections.abc import Iterator, Sequence
from enum import IntEnum
from itertools import pairwise, starmap
from typing import Any, overload

import numpy as np
import numpy.typing as npt

from text_generation_server.models.errors import ModelError

_LENGTH = struct.Struct("<Q")


class _Kind(IntEnum):
    """Of a metadata value (gguf_type)."""

    UINT8 = 0
    INT8 = 1
    UINT16 = 2
    INT16 = 3
    UINT32 = 4
    INT32 = 5
    FLOAT32 = 6
    BOOL = 7
    STRING = 8
    ARRAY = 9
    UINT64 = 10
    INT64 = 11
    FLOAT64 = 12


_NUMBERS = {
    _Kind.UINT8: "<u1",
    _Kind.INT8: "<i1",
    _Kind.UINT16: "<u2",
    _Kind.INT16: "<i2",
    _Kind.UINT32: "<u4",
    _Kind.INT32: "<i4",
    _Kind.FLOAT32: "<f4",
    _Kind.BOOL: "?",
    _Kind.UINT64: "<u8",
    _Kind.INT64: "<i8",
    _Kind.FLOAT64: "<f8",
}


class DamagedError(Exception):
    """The file breaks a rule of the format."""


class StringArray(Sequence[str]):
    """Strings of a mapped file, decoded one by one as they are read: ModelError for one that is
    no UTF-8."""

    def __init__(self, file: memoryview, offsets: list[int]) -> None:
        """offsets: [n + 1] where each string's length stands, and where the last one ends."""
        self._file = file
        self._offsets = offsets

    def __len__(self) -> int:
        return len(self._offsets) - 1

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        place = range(len(self))[index]
        return self._decode(self._offsets[place], self._offsets[place + 1])

    def __iter__(self) -> Iterator[str]:
        return starmap(self._decode, pairwise(self._offsets))

    def _decode(self, start: int, stop: int) -> str:
        try:
            return str(self._file[start + _LENGTH.size : stop], "utf-8")
        except UnicodeDecodeError as error:
            raise ModelError(f"a string of a GGUF's array is damaged: {error}") from error


class Cursor:
    """Reads a file from front to back and never beyond its end."""

    def __init__(self, file: memoryview) -> None:
        self.file = file
        self.position = 0

    def skip(self, size: int) -> int:
        """Where the next `size` bytes start."""
        start = self.position
        if size > len(self.file) - start:
            raise DamagedError(f"it ends within the {size} bytes from byte {start} on")
        self.position = start + size
        return start

    def uint32(self) -> int:
        return int.from_bytes(self.file[self.skip(4) : self.position], "little")

    def uint64(self) -> int:
        return int.from_bytes(self.file[self.skip(8) : self.position], "little")

    def count(self, least_bytes: int) -> int:
        """A number of entries that each take at least so many bytes of the rest."""
        count = self.uint64()
        if count > (len(self.file) - self.position) // least_bytes:
            raise DamagedError(f"it cannot hold {count} entries of a list")
        return count

    def text(self, max_bytes: int | None = None) -> str:
        size = self.uint64()
        if max_bytes is not None and size > max_bytes:
            raise DamagedError(f"a name has {size} bytes, at most {max_bytes} are allowed")
        start = self.skip(size)
        return str(self.file[start : self.position], "utf-8")

    def value(self) -> Any:
        """A metadata value with its type before it."""
        kind = _Kind(self.uint32())
        if kind is _Kind.STRING:
            return self.text()
        if kind is not _Kind.ARRAY:
            return self._numbers(kind, 1)[0].item()
        kind = _Kind(self.uint32())
        if kind is _Kind.ARRAY:
            raise DamagedError("an array holds arrays")
        if kind is _Kind.STRING:
            return StringArray(self.file, self._string_offsets(self.count(_LENGTH.size)))
        return self._numbers(kind, self.count(np.dtype(_NUMBERS[kind]).itemsize))

    def _numbers(self, kind: _Kind, count: int) -> npt.NDArray[Any]:
        item = np.dtype(_NUMBERS[kind])
        start = self.skip(count * item.itemsize)
        numbers = np.frombuffer(self.file, item, count, start)
        # A byte that is neither 0 nor 1 is no bool to NumPy.
        return numbers.view(np.uint8) != 0 if kind is _Kind.BOOL else numbers

    def _string_offsets(self, count: int) -> list[int]:
        # A vocabulary has hundreds of thousands: no call but the one that reads.
        file, end, length_at = self.file, len(self.file), _LENGTH.unpack_from
        position = self.position
        offsets = [position]
        for _ in range(count):
            if position > end - 8:
                raise DamagedError(f"it ends within a list of {count} strings")
            position += 8 + length_at(file, position)[0]
            offsets.append(position)
        self.skip(position - self.position)
        return offsets
