"""A tensor as a model's file stores it: bytes and what they mean, not converted."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import numpy.typing as npt

from text_generation_server.models.mapped_file import Bytes


class TensorType(StrEnum):
    """How values are stored. The quantized types but int8 and int4 are ggml's blocks along a row
    (ggml-common.h)."""

    F32 = "f32"
    F16 = "f16"
    BF16 = "bf16"
    Q4_0 = "q4_0"
    Q4_1 = "q4_1"
    Q5_0 = "q5_0"
    Q8_0 = "q8_0"
    Q4_K = "q4_k"
    Q5_K = "q5_k"
    Q6_K = "q6_k"
    INT8 = "int8"
    """Signed codes of a whole row behind the native kernels' rotation, then their scale, f32."""
    INT4 = "int4"
    """Codes of 4 bits with a scale and a zero a group: `GroupScales`."""

    @property
    def block(self) -> tuple[int, int]:
        """Values of a block, and its bytes."""
        return _BLOCKS[self]

    def row_bytes(self, cols: int) -> int:
        """Bytes of a row of `cols` values. Raises ValueError when they are no whole blocks."""
        values, size = self.block
        if cols % values:
            raise ValueError(f"{cols} values are no multiple of the {values} of a {self} block")
        return cols // values * size + self._tail

    def cols(self, row_bytes: int) -> int | None:
        """Values of a row of so many bytes; None when they are no whole blocks."""
        values, size = self.block
        blocks, rest = divmod(row_bytes - self._tail, size)
        return None if rest or blocks < 1 else blocks * values

    @property
    def _tail(self) -> int:
        """Bytes of a row behind its blocks."""
        return 4 if self is TensorType.INT8 else 0


_BLOCKS = {
    TensorType.F32: (1, 4),
    TensorType.F16: (1, 2),
    TensorType.BF16: (1, 2),
    TensorType.Q4_0: (32, 18),
    TensorType.Q4_1: (32, 20),
    TensorType.Q5_0: (32, 22),
    TensorType.Q8_0: (32, 34),
    TensorType.Q4_K: (256, 144),
    TensorType.Q5_K: (256, 176),
    TensorType.Q6_K: (256, 210),
    TensorType.INT8: (1, 1),
    TensorType.INT4: (2, 1),
}


@dataclass(frozen=True, slots=True, eq=False)
class GroupScales:
    """What the codes of an int4 tensor stand for: (code - zero) * scale of their group."""

    group: int
    """Neighbouring values of a row that share scale and zero: 32, 64 or 128."""
    scales: npt.NDArray[np.float16]
    """[rows, cols / group]"""
    zeros: npt.NDArray[np.uint8]
    """[rows, cols / group], 0 to 16"""

    def take(self, rows: slice | npt.NDArray[np.int64]) -> "GroupScales":
        """Those of some rows, in the order given."""
        return GroupScales(self.group, self.scales[rows], self.zeros[rows])


@dataclass(frozen=True, slots=True, eq=False)
class RawTensor:
    """A tensor by its name in the decoder (`DecoderSpec.tensor_shapes`)."""

    name: str
    type: TensorType
    shape: tuple[int, ...]
    """[rows, cols], or [n] for a vector."""
    data: Bytes
    """[rows, bytes of a row], C-contiguous; a vector is one row. Of int4, two codes a byte, the
    one of the lower column in the lower bits."""
    groups: GroupScales | None = None
    """Of int4, None otherwise."""

    @classmethod
    def from_bytes(
        cls, name: str, kind: TensorType, shape: tuple[int, ...], content: Bytes
    ) -> "RawTensor":
        """content: [bytes], as many as type and shape say."""
        row_bytes = kind.row_bytes(shape[-1] if shape else 1)
        return cls(name, kind, shape, content.reshape(math.prod(shape[:-1]), row_bytes))

    def take(self, rows: slice | npt.NDArray[np.int64]) -> "RawTensor":
        """Some rows, or cells of a vector of floats, in the order given."""
        num_rows, *rest = self.shape
        data = self.data.reshape(num_rows, -1)[rows]
        shape = (len(data), *rest)
        groups = self.groups and self.groups.take(rows)
        return RawTensor(self.name, self.type, shape, data if rest else data.reshape(1, -1), groups)


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """A tensor in a model's file: its description now, its bytes when `read` is called."""

    name: str
    """As the file has it."""
    type: TensorType
    shape: tuple[int, ...]
    read: Callable[[], RawTensor]
