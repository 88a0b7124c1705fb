"""A GGUF of each family describes the decoder it was made from, and gives its weights."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from text_generation_server.executor.torch_weights import load_weights
from text_generation_server.models.errors import ModelError, UnsupportedModelError
from text_generation_server.models.source import ModelSource, resolve
from tiny_gguf import SHIFTED, write_gguf
from tiny_models import make_tiny_llama, make_tiny_model

DIVISORS = {"short_factor": [1.0, 1.5, 2.0], "long_factor": [1.0, 3.0, 9.0]}
# Of the family: llama.cpp's name, transformers' config and its fields, metadata, extra tensors.
FAMILIES: dict[str, tuple[str, str, dict[str, Any], dict[str, Any], dict[str, list[float]]]] = {
    "llama": ("llama", "LlamaConfig", {"attention_bias": True, "mlp_bias": True}, {}, {}),
    "qwen2": ("qwen2", "Qwen2Config", {}, {}, {}),
    "qwen2_yarn": (
        "qwen2",
        "Qwen2Config",
        {
            "rope_parameters": {
                "rope_type": "yarn",
                "factor": 4.0,
                "original_max_position_embeddings": 128,
            }
        },
        {
            "rope.scaling.type": "yarn",
            "rope.scaling.factor": 4.0,
            "rope.scaling.original_context_length": 128,
        },
        {},
    ),
    "qwen3": ("qwen3", "Qwen3Config", {"head_dim": 16}, {}, {}),
    "gemma2": (
        "gemma2",
        "Gemma2Config",
        {"head_dim": 16, "query_pre_attn_scalar": 16, "sliding_window": 20},
        {
            "attention.sliding_window": 20,
            "attn_logit_softcapping": 50.0,
            "final_logit_softcapping": 30.0,
        },
        {},
    ),
    "gemma3": (
        "gemma3",
        "Gemma3TextConfig",
        {
            "head_dim": 16,
            "num_hidden_layers": 7,
            "query_pre_attn_scalar": 16,
            "sliding_window": 20,
            "rope_parameters": {
                "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1e6},
                "sliding_attention": {"rope_type": "default", "rope_theta": 1e4},
            },
        },
        {
            "attention.sliding_window": 20,
            "rope.scaling.type": "linear",
            "rope.scaling.factor": 8.0,
        },
        {},
    ),
    "phi3": (
        "phi3",
        "Phi3Config",
        {
            "num_key_value_heads": 4,
            "sliding_window": 20,
            "original_max_position_embeddings": 128,
            "rope_parameters": {
                "rope_type": "longrope",
                "partial_rotary_factor": 0.75,
                "attention_factor": 1.25,
                **DIVISORS,
            },
        },
        {
            "attention.sliding_window": 20,
            "rope.scaling.original_context_length": 128,
            "rope.scaling.attn_factor": 1.25,
        },
        {f"rope_factors_{name[:-7]}.weight": factors for name, factors in DIVISORS.items()},
    ),
    "granite": (
        "granite",
        "GraniteConfig",
        {
            "attention_multiplier": 0.25,
            "embedding_multiplier": 12.0,
            "residual_multiplier": 0.5,
            "logits_scaling": 8.0,
        },
        {
            "attention.scale": 0.25,
            "embedding_scale": 12.0,
            "residual_scale": 0.5,
            "logit_scale": 8.0,
        },
        {},
    ),
    "olmo2": ("olmo2", "Olmo2Config", {}, {}, {}),
    "smollm3": ("smollm3", "SmolLM3Config", {"num_hidden_layers": 5}, {}, {}),
}


def load(source: ModelSource) -> dict[str, torch.Tensor]:
    return load_weights(source, source.spec(), torch.float32)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_gguf_gives_the_model_it_was_made_from(tmp_path: Path, family: str) -> None:
    architecture, config_class, fields, metadata, extra = FAMILIES[family]
    fields = {"rms_norm_eps": 2.0**-20} | fields  # the same number in a GGUF's float32
    make_tiny_model(tmp_path, getattr(transformers, config_class), **fields)
    folder, file = resolve(str(tmp_path)), write_gguf(tmp_path, architecture, metadata, extra)
    offset = 1.0 if architecture in SHIFTED else 0.0
    assert replace(file.spec(), norm_offset=offset) == folder.spec()
    expected, weights = load(folder), load(file)
    assert expected.keys() == weights.keys()
    for name, tensor in expected.items():
        shift = offset if name.endswith("norm.weight") else 0.0
        assert torch.equal(weights[name], tensor + shift), name


def test_what_a_gemma_file_leaves_out_llama_cpp_knows(tmp_path: Path) -> None:
    fields = {"head_dim": 16, "num_hidden_layers": 3}
    make_tiny_model(tmp_path, transformers.Gemma2Config, **fields, max_position_embeddings=8192)
    spec = write_gguf(tmp_path, "gemma2").spec()
    assert (spec.attention_softcap, spec.logit_softcap) == (50.0, 30.0)
    assert (spec.layer_windows, spec.attention_scale) == ((4096, None, 4096), 0.25)
    spec = write_gguf(tmp_path, "gemma3").spec()
    assert (spec.attention_softcap, spec.logit_softcap) == (None, None)
    assert spec.layer_windows == (None, None, None)


@pytest.mark.parametrize("pattern", [2, [True, False, True]])
def test_a_file_may_name_its_windowed_layers(tmp_path: Path, pattern: Any) -> None:
    make_tiny_model(tmp_path, transformers.Gemma2Config, head_dim=16, num_hidden_layers=3)
    metadata = {
        "attention.sliding_window": 20,
        "attention.sliding_window_pattern": pattern,
        "rope.freq_base_swa": 5000.0,
    }
    spec = write_gguf(tmp_path, "gemma3", metadata).spec()
    assert spec.layer_windows == (20, None, 20)
    assert [spec.ropes[i].theta for i in spec.layer_ropes if i is not None] == [5e3, 1e4, 5e3]


def test_the_largest_gemmas_scale_scores_by_another_size(tmp_path: Path) -> None:
    fields = {"head_dim": 16, "num_hidden_layers": 46, "hidden_size": 32}
    make_tiny_model(tmp_path, transformers.Gemma2Config, **fields)
    assert write_gguf(tmp_path, "gemma2").spec().attention_scale == (32 / 4) ** -0.5


@pytest.mark.parametrize(
    ("architecture", "metadata", "message"),
    [
        ("llama", {"expert_count": 4}, r"mixtures of experts \(llama.expert_count\)"),
        ("llama", {"rope.dimension_count": 2}, "rope over 2 of 8 cells"),
        ("llama", {"block_count": 2.5}, "block_count is 2.5, must be an integer"),
        ("llama", {"block_count": "2"}, "block_count is '2', must be a number"),
        ("llama", {"rope.scaling.type": "xpos"}, "rope scaling 'xpos' is not supported"),
        ("llama", {"rope.scaling.factor": -2.0}, "factor is -2.0, must be 1e-06"),
        (
            "llama",
            {"rope.scaling.type": "yarn", "rope.scaling.yarn_beta_fast": 0.0},
            "beta_fast is 0.0, must be 1e-06",
        ),
        (
            "llama",
            {"rope.scaling.type": "yarn", "rope.scaling.original_context_length": 0},
            "original_max_positions is 0, must be 1 to",
        ),
        (
            "gemma3",
            {"attention.sliding_window_pattern": [True]},
            "sliding_window_pattern describes 1 layers, must be 2",
        ),
    ],
)
def test_files_that_describe_no_known_decoder_are_refused(
    tmp_path: Path, architecture: str, metadata: dict[str, Any], message: str
) -> None:
    make_tiny_llama(tmp_path)
    with pytest.raises(ModelError, match=message):
        write_gguf(tmp_path, architecture, metadata).spec()


@pytest.mark.parametrize("divisors", [[1.0, 0.0, 1.0, 1.0], [1.0, float("nan"), 1.0, 1.0], [1.0]])
def test_divisors_that_divide_nothing_are_refused(tmp_path: Path, divisors: list[float]) -> None:
    make_tiny_llama(tmp_path)
    source = write_gguf(tmp_path, extra={"rope_freqs.weight": divisors})
    with pytest.raises(ModelError, match=r"divisor is (0.0|nan), must be|1 divisors, must be 4"):
        source.spec()


def test_unknown_architectures_are_told_apart(tmp_path: Path) -> None:
    make_tiny_llama(tmp_path)
    message = "GGUF architecture 'novel' is not supported, only llama, .*, smollm3"
    with pytest.raises(UnsupportedModelError, match=message):
        write_gguf(tmp_path, "novel").spec()
