"""Writes a model with quantized weights: those that the native executor would make at load."""

import json
import math
import os
import shutil
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from text_generation_server import _native
from text_generation_server.models import hf_config
from text_generation_server.models.assets import load_assets
from text_generation_server.models.errors import ModelError
from text_generation_server.models.raw_tensor import RawTensor, TensorType
from text_generation_server.models.row_encoding import encoded_name, quantization_config
from text_generation_server.models.safetensors_file import SafeTensor, read_tensors
from text_generation_server.models.source import MODEL_FILES, ModelSource
from text_generation_server.models.weights import FLOAT_TYPES, stored_tensors

_INNER = {"int8": TensorType.INT8, "int4": TensorType.Q4_1}
"""What the matrices between embedding and head become; those two have 8 bits."""
_OUTER = ("model.embed_tokens.weight", "lm_head.weight")
_PART_VALUES = 1 << 22
"""Values of a matrix that one thread quantizes at a time."""


@dataclass(frozen=True, slots=True)
class _Output:
    """A tensor to write."""

    source: SafeTensor
    encoding: TensorType | None
    """None: as in the source."""

    @property
    def name(self) -> str:
        name = self.source.name
        return name if self.encoding is None else encoded_name(name, self.encoding)

    @property
    def dtype(self) -> str:
        return self.source.dtype if self.encoding is None else "U8"

    @property
    def shape(self) -> tuple[int, ...]:
        if self.encoding is None:
            return self.source.shape
        rows, cols = self.source.shape
        return (rows, self.encoding.row_bytes(cols))

    @property
    def size(self) -> int:
        """Bytes."""
        return self.source.data.size if self.encoding is None else math.prod(self.shape)


def quantize_model(source: ModelSource, output: Path, weights: str) -> None:
    """Write a folder that is served as `source` is with its weights quantized at load.

    weights: "int8" or "int4". output: a folder that does not exist yet; it appears when all of it
    is written. Raises ModelError, for what can be known before anything is written.
    """
    _check_source(source)
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise ModelError(f"{output} exists already: name a folder that does not, or remove it")
    outputs = _outputs(source, _INNER[weights])
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        _check_space(output.parent, sum(tensor.size for tensor in outputs))
        with _appearing(output) as folder:
            _copy_files(source.path, folder, weights)
            _write_tensors(folder / "model.safetensors", outputs)
    except OSError as error:
        raise ModelError(f"cannot write {output}: {error.strerror}") from error


def _check_source(source: ModelSource) -> None:
    if source.is_gguf:
        raise ModelError(
            f"{source.path} is a GGUF, only folders of safetensors are quantized: take the model's "
            "folder, or llama.cpp's llama-quantize"
        )
    stated = hf_config.read_json(source.path / "config.json").get("quantization_config")
    if stated:
        method = stated.get("quant_method") if isinstance(stated, dict) else stated
        raise ModelError(
            f"{source.path} is quantized already ({method}): take the unquantized model"
        )
    stored_tensors(source, source.spec())
    load_assets(source)


def _outputs(source: ModelSource, inner: TensorType) -> list[_Output]:
    spec = source.spec()
    outputs = []
    for tensor in read_tensors(source.path).values():
        places = [place.name for place in hf_config.places(tensor.name, spec)]
        if places:  # others are no part of what is served
            encoding = _encoding(tensor, places[0], inner)
            outputs.append(_Output(tensor, encoding))
    _check_blocks(outputs)
    return outputs


def _encoding(tensor: SafeTensor, place: str, inner: TensorType) -> TensorType | None:
    if len(tensor.shape) != 2:
        return None
    return TensorType.INT8 if place in _OUTER else inner


def _check_blocks(outputs: list[_Output]) -> None:
    for tensor in outputs:
        try:
            _ = tensor.shape
        except ValueError as error:
            raise ModelError(
                f"the tensor {tensor.source.name} cannot have 4 bits ({error}): take int8"
            ) from error


def _check_space(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise ModelError(
            f"{folder} has {free} bytes free, the quantized weights take {needed}: free some, or "
            "name a folder on another disk"
        )


@contextmanager
def _appearing(output: Path) -> Iterator[Path]:
    """A folder that takes its name when the block ends without an error."""
    folder = Path(tempfile.mkdtemp(dir=output.parent, prefix=f".{output.name}."))
    try:
        yield folder
        folder.chmod(0o755)
        os.replace(folder, output)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def _copy_files(source: Path, folder: Path, weights: str) -> None:
    for name in MODEL_FILES:
        if (source / name).is_file():
            shutil.copyfile(source / name, folder / name)
    config = hf_config.read_json(source / "config.json")
    config["quantization_config"] = quantization_config(weights)
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")


def _write_tensors(path: Path, outputs: list[_Output]) -> None:
    """A safetensors file, a tensor at a time; its library wants all of them in memory."""
    # None: no bar where nobody watches a terminal.
    with (
        path.open("wb") as file,
        ThreadPoolExecutor(_native.available_cpus()) as threads,
        tqdm(outputs, desc="quantizing weights", unit="tensor", leave=False, disable=None) as bar,
    ):
        file.write(_header(outputs))
        for tensor in bar:
            file.writelines(_content(tensor, threads))


def _header(outputs: list[_Output]) -> bytes:
    """https://huggingface.co/docs/safetensors#format"""
    entries: dict[str, object] = {"__metadata__": {"format": "pt"}}
    end = 0
    for tensor in outputs:
        start, end = end, end + tensor.size
        entries[tensor.name] = {
            "dtype": tensor.dtype,
            "shape": tensor.shape,
            "data_offsets": [start, end],
        }
    text = json.dumps(entries).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def _content(tensor: _Output, threads: ThreadPoolExecutor) -> Iterator[bytes]:
    source, encoding = tensor.source, tensor.encoding
    if encoding is None:
        return iter([source.data.tobytes()])
    kind, (rows, cols) = FLOAT_TYPES[source.dtype], source.shape
    matrix = RawTensor.from_bytes(source.name, kind, source.shape, source.data)
    step = max(_PART_VALUES // cols, 1)

    def quantized(start: int) -> bytes:
        part = matrix.data[start : start + step]
        try:
            return _native.quantize(kind, (len(part), cols), part, encoding)
        except ValueError as error:
            raise ModelError(f"the tensor {source.name} cannot be quantized: {error}") from error

    return threads.map(quantized, range(0, rows, step))
