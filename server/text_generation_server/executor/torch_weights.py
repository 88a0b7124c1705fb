"""A model's weights as torch tensors of floats."""

import gguf
import numpy as np
import torch
from torch import Tensor

from text_generation_server.models.errors import ModelError
from text_generation_server.models.raw_tensor import RawTensor, TensorType
from text_generation_server.models.source import ModelSource
from text_generation_server.models.spec import DecoderSpec
from text_generation_server.models.weights import raw_tensors


def load_weights(source: ModelSource, spec: DecoderSpec, dtype: torch.dtype) -> dict[str, Tensor]:
    """Every tensor of `spec.tensor_shapes()`, as `dtype`, in memory of its own.

    Raises ModelError as `raw_tensors` and for values that are not finite.
    """
    weights = {}
    for raw in raw_tensors(source, spec):
        weight = _floats(raw).to(dtype).reshape(raw.shape)
        # After the conversion, which may overflow float16.
        if not bool(torch.isfinite(weight).all()):
            raise ModelError(
                f"{source.path}: the tensor {raw.name} has values that are not finite as {dtype}"
            )
        weights[raw.name] = weight
    return weights


def _floats(raw: RawTensor) -> Tensor:
    """A copy of the values, in the type that holds them without loss."""
    match raw.type:
        case TensorType.F32:
            return torch.from_numpy(raw.data.view(np.float32).copy())
        case TensorType.F16:
            return torch.from_numpy(raw.data.view(np.float16).copy())
        case TensorType.BF16:
            return torch.from_numpy(raw.data.copy()).view(torch.bfloat16)
        case TensorType.INT4:
            return torch.from_numpy(_int4_values(raw))
        case _:
            kind = gguf.GGMLQuantizationType[raw.type.upper()]
            return torch.from_numpy(gguf.dequantize(raw.data, kind))


def _int4_values(raw: RawTensor) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    assert raw.groups is not None, "int4 has groups"
    rows, cols = raw.shape
    codes = np.stack((raw.data & 15, raw.data >> 4), axis=-1)
    grouped = codes.reshape(rows, cols // raw.groups.group, raw.groups.group).astype(np.float32)
    centred = grouped - raw.groups.zeros[:, :, None]
    return (centred * raw.groups.scales[:, :, None].astype(np.float32)).reshape(rows, cols)
