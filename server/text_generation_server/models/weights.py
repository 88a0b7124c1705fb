"""A model's weights as raw tensors, checked against its description. Needs no torch."""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
from tqdm import tqdm

from text_generation_server.models import gguf_spec, hf_config
from text_generation_server.models.errors import ModelError
from text_generation_server.models.gguf import GgufFile
from text_generation_server.models.hf_config import read_json
from text_generation_server.models.int4 import int4_layout, int4_tensors, is_part
from text_generation_server.models.raw_tensor import RawTensor, StoredTensor, TensorType
from text_generation_server.models.row_encoding import decoded, encoding_of, is_row_encoded
from text_generation_server.models.safetensors_file import SafeTensor, read_tensors
from text_generation_server.models.source import ModelSource
from text_generation_server.models.spec import DecoderSpec, TensorPlace

FLOAT_TYPES = {"F32": TensorType.F32, "F16": TensorType.F16, "BF16": TensorType.BF16}
"""Those that safetensors may have, by the format's names."""


def raw_tensors(source: ModelSource, spec: DecoderSpec) -> Iterator[RawTensor]:
    """Every tensor of `spec.tensor_shapes()`, in the order of the file, with a progress bar on
    stderr. Their bytes are those of the mapped file, but for rows that change places.

    Raises ModelError as `stored_tensors`, before the first one.
    """
    tensors = stored_tensors(source, spec)
    # None: no bar where nobody watches a terminal.
    with tqdm(tensors, desc="loading weights", unit="tensor", leave=False, disable=None) as bar:
        for tensor in bar:
            yield tensor.read()


def stored_tensors(source: ModelSource, spec: DecoderSpec) -> list[StoredTensor]:
    """Descriptions of the same tensors: of the files only their headers are read.

    Raises ModelError for missing, unknown, wrongly shaped and wrongly typed tensors.
    """
    if source.is_gguf:
        stored = _gguf_tensors(source.gguf, spec)
    else:
        stored = _folder_tensors(source.path, spec)
    return _checked(source, spec, stored)


def _checked(
    source: ModelSource, spec: DecoderSpec, stored: Iterable[StoredTensor]
) -> list[StoredTensor]:
    shapes = spec.tensor_shapes()
    tensors: dict[str, StoredTensor] = {}
    for tensor in stored:
        name = tensor.name
        if name not in shapes:
            raise ModelError(
                f"{source.path}: the tensor {name} has no place in {spec.architecture}"
            )
        if name in tensors:
            raise ModelError(f"{source.path} has the tensor {name} twice")
        if tensor.shape != shapes[name]:
            raise ModelError(
                f"{source.path}: the tensor {name} has the shape {list(tensor.shape)}, "
                f"the model's description says {list(shapes[name])}"
            )
        tensors[name] = tensor
    missing = [name for name in shapes if name not in tensors]
    if missing:
        raise ModelError(
            f"{source.path} lacks {len(missing)} of {len(shapes)} tensors, first {missing[0]}: "
            "download the model again"
        )
    return list(tensors.values())


def _gguf_tensors(file: GgufFile, spec: DecoderSpec) -> Iterator[StoredTensor]:
    for name in file.tensor_names:
        tensor = file.tensor(name)
        if len(tensor.shape) == 1 and tensor.type not in FLOAT_TYPES.values():
            raise ModelError(f"{file.path}: the vector {name} is {tensor.type}, not a float type")
        yield from _placed(_whole(tensor), gguf_spec.places(name, spec))


def _folder_tensors(folder: Path, spec: DecoderSpec) -> Iterator[StoredTensor]:
    for stored in _stored_tensors(folder):
        yield from _placed(stored, hf_config.places(stored.name, spec))


def _stored_tensors(folder: Path) -> Iterator[StoredTensor]:
    tensors = read_tensors(folder)
    config = read_json(folder / "config.json")
    layout = int4_layout(config)
    row_encoded = is_row_encoded(config)
    if layout is not None:
        yield from int4_tensors(tensors, layout)
    for tensor in tensors.values():
        if layout is None or not is_part(tensor.name):
            encoding = encoding_of(tensor.name) if row_encoded else None
            yield _whole(
                _float_tensor(folder, tensor) if encoding is None else decoded(tensor, encoding)
            )


def _float_tensor(folder: Path, tensor: SafeTensor) -> RawTensor:
    dtype = FLOAT_TYPES.get(tensor.dtype)
    if dtype is None:
        raise ModelError(
            f"{folder}: the tensor {tensor.name} is {tensor.dtype}, not a float type of "
            f"{', '.join(FLOAT_TYPES)}"
        )
    return RawTensor.from_bytes(tensor.name, dtype, tensor.shape, tensor.data)


def _whole(tensor: RawTensor) -> StoredTensor:
    return StoredTensor(tensor.name, tensor.type, tensor.shape, lambda: tensor)


def _placed(stored: StoredTensor, places: Iterable[TensorPlace]) -> Iterator[StoredTensor]:
    for place in places:
        rows = range(stored.shape[0])[place.start : place.stop]
        shape = (len(rows), *stored.shape[1:])
        yield StoredTensor(place.name, stored.type, shape, partial(_take, stored, place, rows))


def _take(stored: StoredTensor, place: TensorPlace, rows: range) -> RawTensor:
    """The rows of a stored tensor that belong to a place, in the decoder's order."""
    tensor = replace(stored.read(), name=place.name)
    if place.interleaved_heads:
        pairs = np.array(rows).reshape(place.interleaved_heads, -1, 2)
        return tensor.take(pairs.swapaxes(1, 2).reshape(-1))
    return tensor if len(rows) == stored.shape[0] else tensor.take(slice(rows.start, rows.stop))
