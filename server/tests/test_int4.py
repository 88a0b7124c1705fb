"""AWQ and GPTQ folders: what is read is what the formats' own packing put there."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from safetensors.torch import load_file, save_file
from text_generation_server.executor.torch_weights import load_weights
from text_generation_server.models.errors import ModelError
from text_generation_server.models.int4 import Int4Layout, Method, int4_layout
from text_generation_server.models.raw_tensor import TensorType
from text_generation_server.models.source import ModelSource, resolve
from text_generation_server.models.weights import raw_tensors
from tiny_models import edit_json, make_tiny_llama

GROUP = 32
AWQ = {"quant_method": "awq", "bits": 4, "group_size": GROUP, "version": "gemm", "zero_point": True}
GPTQ = {"quant_method": "gptq", "bits": 4, "group_size": GROUP, "desc_act": False, "sym": False}
GPTQ_V2 = GPTQ | {"checkpoint_format": "gptq_v2"}
CONFIGS = [AWQ, GPTQ, GPTQ_V2]

# AutoAWQ's order_map: the output column that goes to each four bits of a word, the lowest first.
AWQ_ORDER = [0, 2, 4, 6, 1, 3, 5, 7]


@dataclass
class Projection:
    """Random codes of a [rows, cols] projection with what they stand for."""

    codes: npt.NDArray[np.int64]
    zeros: npt.NDArray[np.int64]
    """[rows, groups]"""
    scales: npt.NDArray[np.float16]

    @classmethod
    def random(cls, rows: int, cols: int, rng: np.random.Generator) -> "Projection":
        groups = cols // GROUP
        return cls(
            rng.integers(0, 16, (rows, cols)),
            rng.integers(1, 17, (rows, groups)),
            rng.uniform(0.01, 0.1, (rows, groups)).astype(np.float16),
        )

    def values(self) -> torch.Tensor:
        rows, cols = self.codes.shape
        values = np.zeros((rows, cols), np.float32)
        for row in range(rows):
            for col in range(cols):
                group = col // GROUP
                scale = np.float32(self.scales[row, group])
                values[row, col] = (self.codes[row, col] - self.zeros[row, group]) * scale
        return torch.from_numpy(values)

    def stored(self, config: dict[str, Any]) -> dict[str, npt.NDArray[Any]]:
        if config["quant_method"] == "awq":
            # Zeros of 16 need GPTQ's first format.
            self.zeros = np.minimum(self.zeros, 15)
            codes, zeros = (pack(table.T, AWQ_ORDER) for table in (self.codes, self.zeros))
            return {"qweight": codes, "qzeros": zeros, "scales": self.scales.T.copy()}
        if config == GPTQ:
            zeros = self.zeros - 1
        else:
            zeros = self.zeros = np.minimum(self.zeros, 15)
        return {
            "qweight": pack(self.codes, list(range(8))).T.copy(),
            "qzeros": pack(zeros.T, list(range(8))),
            "scales": self.scales.T.copy(),
            "g_idx": (np.arange(self.codes.shape[1]) // GROUP).astype(np.int32),
        }


def pack(table: npt.NDArray[np.int64], order: list[int]) -> npt.NDArray[np.int32]:
    """[n, m] codes as [n, m / 8] words, eight neighbours in each in this order."""
    rows, cols = table.shape
    words = np.zeros((rows, cols // 8), np.uint32)
    for row in range(rows):
        for word in range(cols // 8):
            for place, column in enumerate(order):
                words[row, word] |= np.uint32(int(table[row, word * 8 + column]) << 4 * place)
    return words.view(np.int32)


def quantized(folder: Path, config: dict[str, Any]) -> dict[str, torch.Tensor]:
    """Turn the tiny model of a folder into a quantized one; returns its weights as floats."""
    path = folder / "model.safetensors"
    expected = load_file(path)
    stored: dict[str, torch.Tensor] = {}
    rng = np.random.default_rng(1)
    for name, tensor in expected.items():
        if not name.endswith("_proj.weight"):
            stored[name] = tensor
            continue
        projection = Projection.random(*tensor.shape, rng)
        for part, values in projection.stored(config).items():
            stored[f"{name.removesuffix('weight')}{part}"] = torch.from_numpy(values)
        expected[name] = projection.values()
    save_file(stored, path)
    edit_json(folder / "config.json", quantization_config=config)
    return expected


def tiny(folder: Path, config: dict[str, Any]) -> tuple[ModelSource, dict[str, torch.Tensor]]:
    make_tiny_llama(folder, intermediate_size=64, attention_bias=True)
    expected = quantized(folder, config)
    return resolve(str(folder)), expected


@pytest.mark.parametrize("config", CONFIGS)
def test_quantized_folders_give_the_values_they_stand_for(
    tmp_path: Path, config: dict[str, Any]
) -> None:
    source, expected = tiny(tmp_path, config)
    weights = load_weights(source, source.spec(), torch.float32)
    assert weights.keys() == expected.keys()
    for name, tensor in weights.items():
        assert torch.equal(tensor, expected[name]), name


@pytest.mark.parametrize("config", CONFIGS)
def test_projections_stay_codes(tmp_path: Path, config: dict[str, Any]) -> None:
    source, _ = tiny(tmp_path, config)
    for tensor in raw_tensors(source, source.spec()):
        if not tensor.name.endswith("_proj.weight"):
            assert tensor.groups is None
            continue
        rows, cols = tensor.shape
        assert tensor.type is TensorType.INT4
        assert tensor.data.shape == (rows, cols // 2)
        assert tensor.data.flags.c_contiguous
        assert tensor.groups is not None
        assert tensor.groups.group == GROUP
        for array in (tensor.groups.scales, tensor.groups.zeros):
            assert array.shape == (rows, cols // GROUP)
            assert array.flags.c_contiguous


def change(source: ModelSource, part: str, tensor: torch.Tensor | None) -> None:
    """Replace a part of a projection, or remove it."""
    path = source.path / "model.safetensors"
    tensors = load_file(path)
    name = f"model.layers.0.self_attn.q_proj.{part}"
    tensors.pop(name)
    save_file(tensors if tensor is None else tensors | {name: tensor}, path)


def test_columns_in_activation_order_are_refused(tmp_path: Path) -> None:
    source, _ = tiny(tmp_path, GPTQ | {"desc_act": True})
    assert list(raw_tensors(source, source.spec()))  # the order is the natural one
    change(source, "g_idx", torch.arange(32, dtype=torch.int32) % 2)
    with pytest.raises(ModelError, match=r"q_proj.*activation order \(desc_act\)"):
        list(raw_tensors(source, source.spec()))


@pytest.mark.parametrize(
    ("part", "tensor", "message"),
    [
        ("qzeros", None, "q_proj has no qzeros"),
        ("scales", None, "q_proj has no scales"),
        ("qzeros", torch.zeros(1, 3, dtype=torch.int32), r"I32 \[1, 3\], must be I32 \[1, 4\]"),
        ("scales", torch.zeros(1, 32), r"F32 \[1, 32\], must be F16"),
        ("qweight", torch.zeros(3, 32, dtype=torch.int32), "32 x 24: no whole groups"),
        ("qweight", torch.zeros(4, dtype=torch.int32), r"I32 \[4\], must be I32 two dimensions"),
        ("g_idx", torch.zeros(31, dtype=torch.int32), r"must be I32 \[32\]"),
    ],
)
def test_damaged_projections_are_refused(
    tmp_path: Path, part: str, tensor: torch.Tensor | None, message: str
) -> None:
    source, _ = tiny(tmp_path, GPTQ)
    change(source, part, tensor)
    with pytest.raises(ModelError, match=message):
        list(raw_tensors(source, source.spec()))


def test_layouts_are_read_from_the_config() -> None:
    assert int4_layout({}) is None
    assert int4_layout({"quantization_config": AWQ}) == Int4Layout(Method.AWQ, 32)
    assert int4_layout({"quantization_config": GPTQ}) == Int4Layout(Method.GPTQ, 32, 1)
    assert int4_layout({"quantization_config": GPTQ_V2}) == Int4Layout(Method.GPTQ, 32)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"quant_method": "bitsandbytes"}, "quantized by 'bitsandbytes'"),
        (["awq"], "quantized by None"),
        (AWQ | {"bits": 8}, "awq weights of 8 bits in groups of 32"),
        (GPTQ | {"group_size": -1}, "groups of -1"),
        (AWQ | {"version": "gemv"}, "version 'gemv'"),
        (AWQ | {"zero_point": False}, "zero_point False"),
        (GPTQ | {"checkpoint_format": "marlin"}, "GPTQ format 'marlin'"),
    ],
)
def test_other_layouts_are_refused(config: Any, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        int4_layout({"quantization_config": config})


def test_a_quantization_that_is_not_read_is_refused_before_the_weights(tmp_path: Path) -> None:
    make_tiny_llama(tmp_path)
    edit_json(tmp_path / "config.json", quantization_config={"quant_method": "fp8"})
    with pytest.raises(ModelError, match="quantized by 'fp8'"):
        resolve(str(tmp_path)).spec()
