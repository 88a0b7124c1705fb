"""Writes the tiny models of `tiny_models` as GGUF files, converted as llama.cpp converts them."""

from pathlib import Path
from typing import Any

import gguf
import numpy as np
import numpy.typing as npt
from safetensors.numpy import load_file
from text_generation_server.models.source import ModelSource, resolve
from text_generation_server.models.spec import DecoderSpec
from tiny_models import VOCAB_SIZE

# llama.cpp rotates neighbouring cells in these.
PERMUTED = ("llama", "granite", "smollm3")
SHIFTED = ("gemma2", "gemma3")
"""Their norms add 1 to their weights; a GGUF's have it already."""


def write_gguf(
    folder: Path,
    architecture: str = "llama",
    metadata: dict[str, Any] | None = None,
    extra: dict[str, list[float]] | None = None,
) -> ModelSource:
    """metadata: keys, without the architecture's prefix, beyond those that every file has; extra:
    tensors beyond the model's."""
    spec = resolve(str(folder)).spec()
    path = folder / "tiny.gguf"
    writer = gguf.GGUFWriter(path, architecture)
    for key, value in (_common_metadata(spec) | (metadata or {})).items():
        _add(writer, f"{architecture}.{key}", value)
    writer.add_token_list([chr(i) for i in range(VOCAB_SIZE)])
    names = gguf.get_tensor_name_map(_model_arch(architecture), spec.num_layers)
    for name, values in load_file(folder / "model.safetensors").items():
        renamed = names.get_name(name, try_suffixes=(".weight", ".bias"))
        assert renamed is not None
        if architecture in PERMUTED:
            values = _permuted(name, values, spec)
        if architecture in SHIFTED and name.endswith("norm.weight"):
            values = values + np.float32(1)
        writer.add_tensor(renamed, np.ascontiguousarray(values))
    for name, numbers in (extra or {}).items():
        writer.add_tensor(name, np.array(numbers, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return resolve(str(path))


def _common_metadata(spec: DecoderSpec) -> dict[str, Any]:
    return {
        "block_count": spec.num_layers,
        "context_length": spec.max_positions,
        "embedding_length": spec.hidden_size,
        "feed_forward_length": spec.intermediate_size,
        "attention.head_count": spec.num_heads,
        "attention.head_count_kv": spec.num_kv_heads,
        "attention.key_length": spec.head_dim,
        "attention.layer_norm_rms_epsilon": spec.norm_eps,
        "rope.freq_base": spec.ropes[0].theta,
        "rope.dimension_count": spec.ropes[0].rotary_dim,
    }


def _model_arch(architecture: str) -> gguf.MODEL_ARCH:
    names = {name: arch for arch, name in gguf.MODEL_ARCH_NAMES.items()}
    return names.get(architecture, gguf.MODEL_ARCH.LLAMA)


def _add(writer: gguf.GGUFWriter, key: str, value: Any) -> None:
    match value:
        case list():
            writer.add_array(key, value)
        case str():
            writer.add_string(key, value)
        case int():
            writer.add_uint32(key, value)
        case float():
            writer.add_float32(key, value)


def _permuted(
    name: str, values: npt.NDArray[np.float32], spec: DecoderSpec
) -> npt.NDArray[np.float32]:
    for part, heads in (("q_proj", spec.num_heads), ("k_proj", spec.num_kv_heads)):
        if part in name:
            halves = values.reshape(heads, 2, values.shape[0] // heads // 2, *values.shape[1:])
            return halves.swapaxes(1, 2).reshape(values.shape)
    return values
