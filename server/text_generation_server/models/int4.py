"""AWQ and GPTQ checkpoints of 4 bits as int4 raw tensors.

Both store a projection [rows, cols] transposed, in three or four tensors: `qweight`, `qzeros`
(codes of 4 bits, eight to an int32, the first in its lowest bits), `scales` and, GPTQ alone,
`g_idx`. Source of the layouts: AutoAWQ's WQLinear_GEMM.from_linear and AutoGPTQ's
qlinear_cuda_old.QuantLinear.pack.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from text_generation_server.models.errors import ModelError
from text_generation_server.models.mapped_file import Bytes
from text_generation_server.models.raw_tensor import (
    GroupScales,
    RawTensor,
    StoredTensor,
    TensorType,
)
from text_generation_server.models.row_encoding import is_row_encoded
from text_generation_server.models.safetensors_file import SafeTensor

_GROUPS = (32, 64, 128)
_CODES = 8
"""Codes in an int32."""
_SUFFIXES = (".qweight", ".qzeros", ".scales", ".g_idx")
# AWQ puts the columns 0 2 4 6 1 3 5 7 of eight into an int32, in this order: where each one is.
_AWQ_PLACES = [0, 4, 1, 5, 2, 6, 3, 7]


class Method(StrEnum):
    """`quant_method` of a quantization_config."""

    AWQ = "awq"
    GPTQ = "gptq"


@dataclass(frozen=True, slots=True)
class Int4Layout:
    """How a checkpoint of 4 bits is stored."""

    method: Method
    group: int
    """Input columns that share a scale and a zero."""
    zero_offset: int = 0
    """What is added to stored zeros."""


def int4_layout(config: dict[str, Any]) -> Int4Layout | None:
    """The layout that a config.json states; None for weights of no layout of 4 bits. Raises
    ModelError for a layout that is not read."""
    stated = config.get("quantization_config")
    if not stated:
        return None
    if is_row_encoded(config):
        return None
    method = stated.get("quant_method") if isinstance(stated, dict) else None
    if method not in list(Method):
        raise ModelError(
            f"the weights are quantized by {method!r} (quantization_config), only awq and gptq are "
            "read: serve the model's unquantized weights or a GGUF"
        )
    bits, group = stated.get("bits"), stated.get("group_size")
    if bits != 4 or group not in _GROUPS:
        raise ModelError(
            f"{method} weights of {bits} bits in groups of {group} are not supported, only 4 bits "
            f"in groups of {', '.join(map(str, _GROUPS))}"
        )
    return Int4Layout(Method(method), group, _zero_offset(method, stated))


def _zero_offset(method: str, stated: dict[str, Any]) -> int:
    if method == Method.AWQ:
        version = str(stated.get("version", "gemm")).lower()
        if version != "gemm" or not stated.get("zero_point", True):
            raise ModelError(
                f"AWQ weights of version {version!r}, zero_point {stated.get('zero_point')}, are "
                "not supported, only version 'gemm' with zero points"
            )
        return 0
    form = stated.get("checkpoint_format", "gptq")
    if form not in ("gptq", "gptq_v2"):
        raise ModelError(f"the GPTQ format {form!r} is not supported, only gptq and gptq_v2")
    # The first format stores zeros less one (AutoGPTQ); its successor mended that (GPTQModel).
    return 1 if form == "gptq" else 0


def is_part(name: str) -> bool:
    """Whether a tensor is one of those that make up a quantized projection."""
    return name.endswith(_SUFFIXES)


def int4_tensors(tensors: dict[str, SafeTensor], layout: Int4Layout) -> Iterator[StoredTensor]:
    """The quantized projections among a checkpoint's tensors. Raises ModelError."""
    for name in tensors:
        if name.endswith(".qweight"):
            projection = _Projection(name.removesuffix(".qweight"), tensors, layout)
            yield StoredTensor(projection.name, TensorType.INT4, projection.shape, projection.read)


class _Projection:
    """The tensors of one quantized projection."""

    def __init__(self, prefix: str, tensors: dict[str, SafeTensor], layout: Int4Layout) -> None:
        """Raises ModelError for missing tensors and such of wrong types and shapes."""
        self.name = f"{prefix}.weight"
        self._layout = layout
        part = partial(_part, tensors, prefix)
        self._codes = part("qweight", "I32")
        stored_rows, stored_cols = self._codes.shape
        if layout.method is Method.AWQ:
            cols, rows = stored_rows, stored_cols * _CODES
        else:
            cols, rows = stored_rows * _CODES, stored_cols
        self.shape = (rows, cols)
        num_groups = cols // layout.group
        if cols % layout.group or rows % _CODES:
            raise ModelError(
                f"{self.name} is {rows} x {cols}: no whole groups of {layout.group} columns and "
                f"{_CODES} rows"
            )
        self._zeros = part("qzeros", "I32", (num_groups, rows // _CODES))
        self._scales = part("scales", "F16", (num_groups, rows))
        self._order = None
        if f"{prefix}.g_idx" in tensors:
            self._order = part("g_idx", "I32", (cols,))

    def read(self) -> RawTensor:
        """Raises ModelError when columns are not grouped in their order."""
        cols, layout = self.shape[1], self._layout
        if self._order is not None:
            expected = np.arange(cols) // layout.group
            if not np.array_equal(self._order.data.view("<i4"), expected):
                raise ModelError(
                    f"{self.name}: columns grouped by activation order (desc_act) are not "
                    "supported: quantize with desc_act off"
                )
        is_awq = layout.method is Method.AWQ
        zeros = _unpack(self._zeros, _AWQ_PLACES if is_awq else list(range(_CODES)))
        groups = GroupScales(
            layout.group,
            np.ascontiguousarray(_array(self._scales, "<f2").T),
            np.ascontiguousarray(zeros.T) + np.uint8(layout.zero_offset),
        )
        codes = _awq_codes(self._codes) if is_awq else _gptq_codes(self._codes)
        return RawTensor(self.name, TensorType.INT4, self.shape, codes, groups)


def _part(
    tensors: dict[str, SafeTensor],
    prefix: str,
    suffix: str,
    dtype: str,
    shape: tuple[int, ...] | None = None,
) -> SafeTensor:
    """shape: None for any of two dimensions."""
    tensor = tensors.get(f"{prefix}.{suffix}")
    if tensor is None:
        raise ModelError(f"the quantized {prefix} has no {suffix}: download the model again")
    fits = len(tensor.shape) == 2 if shape is None else tensor.shape == shape
    if tensor.dtype != dtype or not fits:
        wanted = "two dimensions" if shape is None else list(shape)
        raise ModelError(
            f"the tensor {tensor.name} is {tensor.dtype} {list(tensor.shape)}, must be {dtype} "
            f"{wanted}"
        )
    return tensor


def _array(tensor: SafeTensor, dtype: str) -> npt.NDArray[Any]:
    return tensor.data.view(dtype).reshape(tensor.shape)


def _unpack(tensor: SafeTensor, places: list[int]) -> Bytes:
    """[n, m * 8] the codes of int32s [n, m]; places: where in an int32 each of eight is."""
    rows, cols = tensor.shape
    pairs = tensor.data.reshape(rows, cols, _CODES // 2)
    codes = np.stack((pairs & 15, pairs >> 4), axis=-1).reshape(rows, cols, _CODES)
    return codes[:, :, places].reshape(rows, cols * _CODES)


def _awq_codes(tensor: SafeTensor) -> Bytes:
    """[rows, cols / 2] from int32s [cols, rows / 8]."""
    codes = _unpack(tensor, _AWQ_PLACES)
    return np.ascontiguousarray((codes[0::2] | codes[1::2] << 4).T)


def _gptq_codes(tensor: SafeTensor) -> Bytes:
    """[rows, cols / 2] from int32s [cols / 8, rows]: the codes of an int32 are neighbours."""
    return np.ascontiguousarray(_array(tensor, "<i4").T).view(np.uint8)
