"""The tensors of a folder's safetensors files, mapped.

Format: https://huggingface.co/docs/safetensors; headers are read and checked by its own library.
"""

from dataclasses import dataclass
from pathlib import Path

from text_generation_server._native import safetensors_index
from text_generation_server.models.errors import ModelError
from text_generation_server.models.hf_config import read_json
from text_generation_server.models.mapped_file import Bytes, map_file

_INDEX = "model.safetensors.index.json"


@dataclass(frozen=True, slots=True, eq=False)
class SafeTensor:
    """A tensor of a safetensors file."""

    name: str
    dtype: str
    """As the format spells it: "F32", "BF16", "I32", ..."""
    shape: tuple[int, ...]
    data: Bytes
    """[bytes], in the mapped file."""


def read_tensors(folder: Path) -> dict[str, SafeTensor]:
    """Every tensor of the folder by its name. Raises ModelError."""
    tensors: dict[str, SafeTensor] = {}
    for path in weight_files(folder):
        for tensor in _read_file(path):
            if tensor.name in tensors:
                raise ModelError(f"{folder}: the tensor {tensor.name} is in two files")
            tensors[tensor.name] = tensor
    return tensors


def _read_file(path: Path) -> list[SafeTensor]:
    file = map_file(path)
    try:
        index = safetensors_index(file)
    except ValueError as error:
        raise ModelError(
            f"{path} is truncated or no safetensors file ({error}): download it again"
        ) from error
    return [SafeTensor(name, dtype, shape, file[a:b]) for name, dtype, shape, a, b in index]


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files of a model's folder. Raises ModelError when there are none."""
    if (folder / _INDEX).is_file():
        return _indexed_files(folder)
    files = sorted(folder.glob("*.safetensors"))
    if len(files) != 1:
        raise ModelError(
            f"{folder} has {len(files)} *.safetensors files and no {_INDEX}: a model folder needs "
            "one file, or several with an index (pickled *.bin weights are not read)"
        )
    return files


def _indexed_files(folder: Path) -> list[Path]:
    weight_map = read_json(folder / _INDEX).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise ModelError(f"{folder / _INDEX} has no weight_map")
    names = sorted({str(name) for name in weight_map.values()})
    for name in names:
        if Path(name).name != name:
            raise ModelError(f"{folder / _INDEX} names {name!r}, which is not a file of its folder")
        if not (folder / name).is_file():
            raise ModelError(f"{folder / name} is missing: download the model again")
    return [folder / name for name in names]
