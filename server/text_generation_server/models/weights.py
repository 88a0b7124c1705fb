"""Loads a model's weights into torch tensors, checked against its description."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor
from tqdm import tqdm

from text_generation_server.models.errors import ModelError
from text_generation_server.models.gguf import GgufFile
from text_generation_server.models.gguf_spec import places
from text_generation_server.models.hf_config import read_json
from text_generation_server.models.source import ModelSource
from text_generation_server.models.spec import DecoderSpec, TensorPlace

_INDEX = "model.safetensors.index.json"
_HEAD = "lm_head.weight"
# A buffer that old checkpoints carry along; the rope's frequencies come from the config.
_IGNORED_SUFFIX = "rotary_emb.inv_freq"


def load_weights(source: ModelSource, spec: DecoderSpec, dtype: torch.dtype) -> dict[str, Tensor]:
    """Every tensor of `spec.tensor_shapes()`, as `dtype`, in memory of its own.

    Raises ModelError for missing, unknown and wrongly shaped tensors and for values that are not
    finite. Shows a progress bar on stderr.
    """
    shapes = spec.tensor_shapes()
    weights = {}
    for name, tensor in _read_tensors(source, spec):
        if name.endswith(_IGNORED_SUFFIX) or (name == _HEAD and spec.tied_embeddings):
            continue
        if name not in shapes:
            raise ModelError(
                f"{source.path}: the tensor {name} has no place in {spec.architecture}"
            )
        _check(source, name, tensor, shapes[name])
        weights[name] = tensor.to(dtype, copy=True)
        # After the conversion, which may overflow float16.
        if not bool(torch.isfinite(weights[name]).all()):
            raise ModelError(
                f"{source.path}: the tensor {name} has values that are not finite as {dtype}"
            )
    missing = [name for name in shapes if name not in weights]
    if missing:
        raise ModelError(
            f"{source.path} lacks {len(missing)} of {len(shapes)} tensors, first {missing[0]}: "
            "download the model again"
        )
    return weights


def weights_digest(source: ModelSource) -> str:
    """SHA-256 over the content of all files that decide what KV a prompt gets: the weights, the
    description and the tokenizer. About one second per GB."""
    if source.is_gguf:
        files = [source.path]
    else:
        fixed = [source.path / "config.json", source.path / "tokenizer.json"]
        files = [*fixed, *_safetensors_files(source.path)]
    digest = hashlib.sha256()
    for path in files:
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def _check(source: ModelSource, name: str, tensor: Tensor, shape: tuple[int, ...]) -> None:
    if tuple(tensor.shape) != shape:
        raise ModelError(
            f"{source.path}: the tensor {name} has the shape {list(tensor.shape)}, "
            f"the model's description says {list(shape)}"
        )
    if not tensor.is_floating_point():
        raise ModelError(f"{source.path}: the tensor {name} is {tensor.dtype}, not a float type")


def _read_tensors(source: ModelSource, spec: DecoderSpec) -> Iterator[tuple[str, Tensor]]:
    if source.is_gguf:
        yield from _read_gguf(source.gguf, spec)
    else:
        yield from _read_safetensors(_safetensors_files(source.path))


def _read_gguf(file: GgufFile, spec: DecoderSpec) -> Iterator[tuple[str, Tensor]]:
    names = [(name, place) for name in file.tensor_names for place in places(name, spec)]
    with _progress(len(names)) as bar:
        for name, place in names:
            yield place.name, _take(torch.from_numpy(file.dequantized(name)), place)
            bar.update()


def _take(tensor: Tensor, place: TensorPlace) -> Tensor:
    """The rows of a stored tensor that belong to a place, in the decoder's order."""
    rows = tensor[place.start : place.stop]
    if not place.interleaved_heads:
        return rows
    pairs = rows.reshape(place.interleaved_heads, -1, 2, *rows.shape[1:])
    return pairs.transpose(1, 2).reshape(rows.shape)


def _read_safetensors(paths: list[Path]) -> Iterator[tuple[str, Tensor]]:
    for number, path in enumerate(paths, start=1):
        with (
            _readable(path),
            safe_open(path, framework="pt") as file,
            _progress(len(file.keys()), f" {number}/{len(paths)}") as bar,
        ):
            for name in file.keys():
                yield name, file.get_tensor(name)
                bar.update()


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, SafetensorError) as error:
        raise ModelError(
            f"{path} is missing, truncated or no safetensors file ({error}): download it again"
        ) from error


def _progress(total: int, part: str = "") -> "tqdm[NoReturn]":
    # None: no bar where nobody watches a terminal.
    return tqdm(
        total=total, desc=f"loading weights{part}", unit="tensor", leave=False, disable=None
    )


def _safetensors_files(folder: Path) -> list[Path]:
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
