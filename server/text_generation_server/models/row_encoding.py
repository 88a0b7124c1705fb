"""Matrices as `text-generation-server quantize` writes them: what the native executor makes of
weights when it is told to quantize them, kept in a safetensors file.

config.json says so in its quantization_config. A matrix `x.weight` [rows, cols] is then a tensor
`x.weight.int8` or `x.weight.q4_1`, U8 [rows, bytes of a row in this `TensorType`]; all other
tensors are as in the source. No format of others holds these: AWQ and GPTQ have whole zeros, int8
of compressed-tensors has no rotation, and Q8_0 of GGUF has other scales.
"""

from typing import Any

from text_generation_server.models.errors import ModelError
from text_generation_server.models.raw_tensor import RawTensor, TensorType
from text_generation_server.models.safetensors_file import SafeTensor

METHOD = "text-generation-server"
"""`quant_method` of these folders."""
VERSION = 1
ENCODINGS = (TensorType.INT8, TensorType.Q4_1)


def quantization_config(weights: str) -> dict[str, Any]:
    """What config.json says. weights: "int8" or "int4"."""
    return {"quant_method": METHOD, "version": VERSION, "weights": weights}


def is_row_encoded(config: dict[str, Any]) -> bool:
    """Whether a config.json is that of such a folder. Raises ModelError for a later version."""
    stated = config.get("quantization_config")
    if not isinstance(stated, dict) or stated.get("quant_method") != METHOD:
        return False
    if stated.get("version") != VERSION:
        raise ModelError(
            f"the weights were quantized in version {stated.get('version')!r} of the format, only "
            f"{VERSION} is read: quantize the model anew"
        )
    return True


def encoded_name(name: str, encoding: TensorType) -> str:
    """The stored name of a matrix."""
    return f"{name}.{encoding}"


def encoding_of(name: str) -> TensorType | None:
    """The encoding that a stored name ends in; None for tensors that are as in the source."""
    _, _, suffix = name.rpartition(".")
    return next((encoding for encoding in ENCODINGS if encoding == suffix), None)


def decoded(tensor: SafeTensor, encoding: TensorType) -> RawTensor:
    """A stored matrix by its own name. Raises ModelError when it is no U8 matrix of whole rows."""
    row_bytes = tensor.shape[1] if len(tensor.shape) == 2 else 0
    cols = encoding.cols(row_bytes)
    if tensor.dtype != "U8" or cols is None:
        raise ModelError(
            f"the tensor {tensor.name} is {tensor.dtype} {list(tensor.shape)}, must be U8 in rows "
            f"of {encoding}: quantize the model anew"
        )
    name = tensor.name.removesuffix(f".{encoding}")
    return RawTensor.from_bytes(name, encoding, (tensor.shape[0], cols), tensor.data)
