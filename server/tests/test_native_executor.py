"""Every family through the native executor equals transformers, within what its types round.

The models are made of weights that packing to bf16 or 4 bits keeps, so that what is left is the
rounding of activations, keys and values; 8 bits lie behind a rotation and round weights too.
"""

from pathlib import Path
from typing import Any

import gguf
import numpy as np
import numpy.typing as npt
import pytest
import torch
import transformers
from native_decoder import description_of, executor_of, tensors_of
from plan_driver import PlanDriver
from test_families import FAMILIES, STRETCHED
from test_int4 import CONFIGS, quantized
from test_torch_executor import SHAPES, make_prompts
from text_generation_server._native import Decoder, PagePool
from text_generation_server.errors import ConfigError
from text_generation_server.executor.native_executor import (
    NativeExecutor,
    load_native_executor,
)
from text_generation_server.executor.native_options import NativeOptions
from text_generation_server.executor.step import Float32Array
from text_generation_server.models.errors import UnsupportedModelError
from text_generation_server.models.raw_tensor import TensorType
from text_generation_server.models.source import resolve
from tiny_models import make_tiny_llama, make_tiny_model
from transformers import PreTrainedModel

LENGTH = 300
"""Tokens: beyond windows, a block of 256 keys, and nine pages."""

ODD: dict[str, Any] = {
    "hidden_size": 45,
    "intermediate_size": 51,
    "num_attention_heads": 3,
    "num_key_value_heads": 1,
    "head_dim": 18,
    "vocab_size": 263,
}
LARGE_HEADS: dict[str, Any] = {"head_dim": 256, "num_attention_heads": 2, "num_key_value_heads": 1}
MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    **FAMILIES,
    **{name: ("LlamaConfig", fields) for name, fields in SHAPES.items()},
    "odd_sizes": ("LlamaConfig", ODD | {"mlp_bias": True}),
    "odd_tied": ("Gemma3TextConfig", ODD | {"query_pre_attn_scalar": 18}),
    "large_heads": ("LlamaConfig", LARGE_HEADS),
    "qwen2_untied": ("Qwen2Config", {"tie_word_embeddings": False}),
    "gemma2_untied": ("Gemma2Config", {"tie_word_embeddings": False, "head_dim": 16}),
}

# Of the norm of all logits, apart from their mean: 1.6 times the worst that is measured. Weights of
# a standard deviation of 0.3 make attention sharp, and every rounding large.
BOUNDS = {"bf16": 0.03, "int8": 0.12, "int4": 0.12}
# More layers, or layers without a rope.
SHARPER = {"smollm3": 1.7, "smollm3_windows": 1.7, "odd_sizes": 1.3}


def make(
    folder: Path, config_class: str, fields: dict[str, Any], weights: str = "bf16"
) -> PreTrainedModel:
    """A tiny model of weights that packing keeps, saved in `folder`."""
    model = make_tiny_model(folder, getattr(transformers, config_class), **fields)
    for name, parameter in model.named_parameters():
        if parameter.dim() == 2:
            inner = weights == "int4" and name.endswith("_proj.weight")
            parameter.data = (
                on_grids(parameter.data) if inner else parameter.data.bfloat16().float()
            )
    model.save_pretrained(folder)
    return model


def on_grids(weight: torch.Tensor) -> torch.Tensor:
    """The nearest weights of which each 32 neighbours lie on 16 equally spaced numbers."""
    groups = []
    for group in weight.split(32, dim=1):
        low = group.amin(1, keepdim=True).half().float()
        step = ((group.amax(1, keepdim=True) - low) / 15).half().float()
        groups.append(((group - low) / step).round().clamp(0, 15) * step + low)
    return torch.cat(groups, dim=1)


def reference(model: PreTrainedModel, tokens: list[int]) -> Float32Array:
    with torch.inference_mode():
        logits: Float32Array = model(torch.tensor([tokens])).logits[0].float().numpy()
    return logits


def load(folder: Path, **options: Any) -> NativeExecutor:
    return load_native_executor(resolve(str(folder)), NativeOptions(num_threads=1, **options))


def logits_of(executor: NativeExecutor, tokens: list[int]) -> Float32Array:
    return PlanDriver(executor, num_pages=20).logits(tokens, chunk=64)


def assert_near(logits: Float32Array, expected: Float32Array, bound: float) -> None:
    spread = expected - expected.mean(-1, keepdims=True)
    error = np.linalg.norm(logits - expected) / np.linalg.norm(spread)
    assert error < bound, f"the error is {error:.4f} of the logits, must be below {bound}"
    second, best = np.sort(expected, -1)[:, -2:].T
    clear = best - second > 5 * bound * expected.std(-1)
    assert (logits.argmax(-1) == expected.argmax(-1))[clear].all()


@pytest.fixture(scope="module")
def tokens() -> list[int]:
    [tokens] = make_prompts([LENGTH])
    return tokens


@pytest.mark.parametrize("weights", BOUNDS)
@pytest.mark.parametrize("name", MODELS)
def test_logits_equal_those_of_transformers(
    tmp_path: Path, tokens: list[int], name: str, weights: str
) -> None:
    model = make(tmp_path, *MODELS[name], weights)
    executor = load(tmp_path, weights=weights)
    bound = BOUNDS[weights] * SHARPER.get(name, 1)
    assert_near(logits_of(executor, tokens), reference(model, tokens), bound)


@pytest.mark.parametrize("name", MODELS)
def test_keys_and_values_of_8_bits_stay_near(tmp_path: Path, tokens: list[int], name: str) -> None:
    model = make(tmp_path, *MODELS[name])
    executor = load(tmp_path, kv_dtype="int8")
    bound = 2 * BOUNDS["bf16"] * SHARPER.get(name, 1)
    assert_near(logits_of(executor, tokens), reference(model, tokens), bound)


# transformers takes the rope from the sequence at hand: equal where that is as long as the limit.
@pytest.mark.parametrize("kind", STRETCHED)
@pytest.mark.parametrize("total_tokens", [60, 150])
def test_the_longest_sequence_to_serve_decides_the_rope(
    tmp_path: Path, tokens: list[int], kind: str, total_tokens: int
) -> None:
    config_class, fields = STRETCHED[kind]
    # As the kinds have it: the context before it was stretched, or after.
    context = 512 if kind.startswith("longrope") else 64
    model = make(tmp_path, config_class, {"max_position_embeddings": context} | fields)
    executor = load(tmp_path, max_total_tokens=total_tokens)
    tokens = tokens[:total_tokens]
    assert_near(logits_of(executor, tokens), reference(model, tokens), BOUNDS["bf16"])


@pytest.mark.parametrize("config", CONFIGS)
def test_codes_of_4_bits_are_taken_over(
    tmp_path: Path, tokens: list[int], config: dict[str, Any]
) -> None:
    """Of AWQ and GPTQ folders, with their groups."""
    model = make_tiny_llama(tmp_path, intermediate_size=64, attention_bias=True)
    model.load_state_dict(quantized(tmp_path, config))
    executor = load(tmp_path)
    assert executor.facts.weights == "int4 g32 wide + bf16 head"
    # The random codes make weights larger than those of the other models.
    assert_near(logits_of(executor, tokens), reference(model, tokens), 1.8 * BOUNDS["int4"])


def random_blocks(kind: TensorType, rows: int, cols: int) -> npt.NDArray[np.uint8]:
    """[rows, bytes of a row] of random codes, with scales that give weights of a usual size."""
    blocks = np.random.default_rng(2).integers(0, 256, (rows, kind.row_bytes(cols)), np.uint8)
    view = blocks.reshape(rows, -1, kind.block[1])
    scale, minimum = SCALES[kind]
    at = kind.block[1] - 2 if kind is TensorType.Q6_K else 0
    view[..., at : at + 2] = np.frombuffer(np.float16(scale).tobytes(), np.uint8)
    if minimum:
        view[..., 2:4] = np.frombuffer(np.float16(minimum).tobytes(), np.uint8)
    return blocks


# Scale and minimum of a block; those of super blocks are multiplied with codes of 6 or 8 bits.
SCALES = {
    TensorType.Q4_0: (0.02, 0.0),
    TensorType.Q4_1: (0.02, -0.15),
    TensorType.Q5_0: (0.01, 0.0),
    TensorType.Q8_0: (0.001, 0.0),
    TensorType.Q4_K: (0.0005, 0.004),
    TensorType.Q5_K: (0.0003, 0.004),
    TensorType.Q6_K: (0.00005, 0.0),
}


@pytest.mark.parametrize(
    ("kind", "packed"),
    [
        (TensorType.Q4_0, "int4 g32"),
        (TensorType.Q4_1, "int4 g32"),
        (TensorType.Q4_K, "int4 g32 wide"),
        (TensorType.Q8_0, "int8 g32"),
        (TensorType.Q5_0, "int8"),
        (TensorType.Q5_K, "int8"),
        (TensorType.Q6_K, "int8"),
    ],
)
def test_blocks_of_a_gguf_run_as_what_they_are(
    tmp_path: Path, tokens: list[int], kind: TensorType, packed: str
) -> None:
    """Whatever their head: it stays a float here."""
    model = make_tiny_llama(tmp_path, hidden_size=256, intermediate_size=256)
    source = resolve(str(tmp_path))
    tensors = tensors_of(source)
    ggml_type = gguf.GGMLQuantizationType[kind.name]
    for name, parameter in model.named_parameters():
        if name.endswith("_proj.weight"):
            blocks = random_blocks(kind, *parameter.shape)
            tensors[name] = (kind, tuple(parameter.shape), blocks, None)
            values = gguf.quants.dequantize(blocks, ggml_type).astype(np.float32)
            parameter.data = torch.from_numpy(values)
    decoder = Decoder.load(description_of(source), tensors, num_threads=1)
    assert decoder.weights == f"{packed} + bf16 head"
    executor = executor_of(decoder, source)
    assert_near(logits_of(executor, tokens), reference(model, tokens), BOUNDS["int4"])


def test_the_facts_say_what_was_loaded(tmp_path: Path) -> None:
    make_tiny_llama(tmp_path)
    facts = load(tmp_path, weights="int4", kv_dtype="int8").facts
    assert (facts.name, facts.device, facts.kv_dtype) == ("native", "cpu", "int8")
    assert facts.weights == "int4 g32 + int8 head"
    assert facts.hardware.endswith("1 thread")
    assert (facts.vocab_size, facts.context_length, facts.page_tokens) == (258, 512, 32)
    # layers, heads, keys and values, tokens, cells filled up to a vector and a scale
    assert facts.page_bytes == 2 * 2 * 2 * 32 * (16 + 4)


def test_the_fingerprint_tells_exchangeable_keys_and_values(tmp_path: Path) -> None:
    make_tiny_llama(tmp_path / "a")
    make_tiny_llama(tmp_path / "b", seed=1)
    make_tiny_llama(tmp_path / "c", rope_parameters={"rope_type": "dynamic", "factor": 2.0})

    def fingerprint(folder: str, **options: Any) -> str:
        executor = load_native_executor(resolve(str(tmp_path / folder)), NativeOptions(**options))
        return executor.facts.fingerprint

    same = {fingerprint("a", num_threads=n, max_total_tokens=t) for n, t in [(1, None), (2, 80)]}
    others = [
        fingerprint("a", weights="int8"),
        fingerprint("a", kv_dtype="int8"),
        fingerprint("b"),
        fingerprint("c", max_total_tokens=1000),
        fingerprint("c", max_total_tokens=2000),
    ]
    assert len(same) == 1
    assert len(same.union(others)) == 6


def test_wrong_settings_are_refused(tmp_path: Path) -> None:
    make_tiny_llama(tmp_path)
    with pytest.raises(ConfigError, match=r"is 16, but pages .* have 32: leave it out"):
        load(tmp_path, page_tokens=16)
    executor = load(tmp_path, page_tokens=32)
    with pytest.raises(ValueError, match=f"100 bytes, must be {executor.facts.page_bytes}"):
        executor.bind(PagePool(4, 100), 1)


def test_a_model_that_the_kernels_lack_is_left_to_others(tmp_path: Path) -> None:
    make_tiny_llama(tmp_path, head_dim=258)
    with pytest.raises(UnsupportedModelError, match="head size 258 is outside 1 to 256"):
        load(tmp_path)
