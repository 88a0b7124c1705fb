"""Hugging Face configs become descriptions as transformers understands them."""

import json
import math
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest
import transformers
from text_generation_server.models.embedded import EMBEDDED_MODEL
from text_generation_server.models.errors import ModelError, UnsupportedModelError
from text_generation_server.models.hf_config import places, spec_from_config
from text_generation_server.models.rope import (
    LinearScaling,
    Llama3Scaling,
    LongScaling,
    RopeSpec,
)
from text_generation_server.models.source import resolve
from text_generation_server.models.spec import QkNorm, TensorPlace

SIZES: dict[str, Any] = {
    "vocab_size": 100,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 8,
    "num_attention_heads": 4,
    "max_position_embeddings": 8192,
}
LLAMA: dict[str, Any] = SIZES | {
    "architectures": ["LlamaForCausalLM"],
    "num_key_value_heads": 2,
    "rms_norm_eps": 1e-5,
    "tie_word_embeddings": True,
    "rope_parameters": {"rope_type": "default", "rope_theta": 500000.0},
    "dtype": "bfloat16",
}
LLAMA3 = {
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 1024,
}

FAMILIES = [
    ("LlamaConfig", "LlamaForCausalLM"),
    ("MistralConfig", "MistralForCausalLM"),
    ("Qwen2Config", "Qwen2ForCausalLM"),
    ("Qwen3Config", "Qwen3ForCausalLM"),
    ("Gemma2Config", "Gemma2ForCausalLM"),
    ("Gemma3TextConfig", "Gemma3ForCausalLM"),
    ("Phi3Config", "Phi3ForCausalLM"),
    ("GraniteConfig", "GraniteForCausalLM"),
    ("Olmo2Config", "Olmo2ForCausalLM"),
    ("SmolLM3Config", "SmolLM3ForCausalLM"),
]


def test_both_forms_of_config_describe_the_same_decoder() -> None:
    new = spec_from_config(
        LLAMA | {"rope_parameters": {"rope_type": "llama3", "rope_theta": 5e5, **LLAMA3}}
    )
    old_config = {k: v for k, v in LLAMA.items() if k not in ("rope_parameters", "dtype")}
    old_config |= {
        "rope_theta": 5e5,
        "rope_scaling": {"type": "llama3", **LLAMA3},
        "torch_dtype": "bfloat16",
    }
    assert new == spec_from_config(old_config)
    assert new.ropes == (RopeSpec(5e5, 16, Llama3Scaling(8.0, 1.0, 4.0, 1024)),)
    assert (new.head_dim, new.num_kv_heads, new.tied_embeddings) == (16, 2, True)


@pytest.mark.parametrize(
    ("config_class", "architecture", "fields"),
    [
        *((*family, {}) for family in FAMILIES),
        ("SmolLM3Config", "SmolLM3ForCausalLM", {"use_sliding_window": True, "sliding_window": 9}),
        ("Qwen2Config", "Qwen2ForCausalLM", {"use_sliding_window": True, "max_window_layers": 3}),
    ],
)
def test_absent_keys_mean_what_they_mean_to_transformers(
    config_class: str, architecture: str, fields: dict[str, Any]
) -> None:
    """What transformers makes of few keys, all keys written out, is the same decoder."""
    sizes = {"num_attention_heads": 32, "hidden_size": 1024, "max_position_embeddings": 9999}
    few = SIZES | sizes | fields
    full = getattr(transformers, config_class)(**few).to_dict()
    names = {"architectures": [architecture]}
    assert spec_from_config(full | names) == spec_from_config(few | names)


def test_gemma3_of_older_transformers_has_two_ropes() -> None:
    """As google/gemma-3-1b-it has it, with the scaling of its larger siblings."""
    config = SIZES | {
        "architectures": ["Gemma3ForCausalLM"],
        "num_key_value_heads": 1,
        "head_dim": 256,
        "hidden_activation": "gelu_pytorch_tanh",
        "query_pre_attn_scalar": 256,
        "rope_theta": 1_000_000,
        "rope_local_base_freq": 10_000,
        "rope_scaling": {"factor": 8.0, "rope_type": "linear"},
        "sliding_window": 512,
        "sliding_window_pattern": 6,
    }
    spec = spec_from_config(config)
    assert spec.ropes == (RopeSpec(1e6, 256, LinearScaling(8.0)), RopeSpec(1e4, 256))
    assert spec.layer_ropes == (1, 1, 1, 1, 1, 0, 1, 1)
    assert spec.layer_windows == (512, 512, 512, 512, 512, None, 512, 512)
    assert (spec.qk_norm, spec.attention_scale) == (QkNorm.HEAD, 1 / 16)
    assert (spec.tied_embeddings, spec.embedding_multiplier) == (True, 8.0)


def test_the_decoder_of_a_model_that_sees_is_served_alone() -> None:
    """As google/gemma-3-4b-it has it: the text's config names few sizes."""
    text = {
        "hidden_size": 2560,
        "intermediate_size": 10240,
        "model_type": "gemma3_text",
        "num_hidden_layers": 34,
        "rope_scaling": {"factor": 8.0, "rope_type": "linear"},
        "sliding_window": 1024,
    }
    config = {"architectures": ["Gemma3ForConditionalGeneration"], "text_config": text}
    spec = spec_from_config(config)
    assert (spec.vocab_size, spec.num_heads, spec.num_kv_heads) == (262_208, 8, 4)
    assert (spec.architecture, spec.max_positions) == ("Gemma3ForCausalLM", 131_072)
    assert places("vision_tower.vision_model.head.weight", spec) == ()
    assert places("lm_head.weight", spec) == ()
    for prefix in ("language_model.model.", "model.language_model.", "model."):
        assert places(f"{prefix}norm.weight", spec) == (TensorPlace("model.norm.weight"),)


def test_fused_projections_are_split_by_rows() -> None:
    config = SIZES | {"architectures": ["Phi3ForCausalLM"], "num_key_value_heads": 2}
    spec = spec_from_config(config)
    prefix = "model.layers.3."
    assert places(f"{prefix}self_attn.qkv_proj.weight", spec) == (
        TensorPlace(f"{prefix}self_attn.q_proj.weight", 0, 64),
        TensorPlace(f"{prefix}self_attn.k_proj.weight", 64, 96),
        TensorPlace(f"{prefix}self_attn.v_proj.weight", 96),
    )
    assert places(f"{prefix}mlp.gate_up_proj.weight", spec) == (
        TensorPlace(f"{prefix}mlp.gate_proj.weight", 0, 96),
        TensorPlace(f"{prefix}mlp.up_proj.weight", 96),
    )


@pytest.mark.parametrize("original", [{}, {"original_max_position_embeddings": 128}])
def test_the_length_before_stretching_is_the_configs_not_the_ropes(
    original: dict[str, int],
) -> None:
    divisors = [1.0] * 8
    rope = {"rope_type": "longrope", "short_factor": divisors, "long_factor": divisors}
    few = SIZES | {"rope_parameters": rope | {"original_max_position_embeddings": 64}} | original
    # First, for transformers writes into what it is given.
    scaling = spec_from_config(few | {"architectures": ["Phi3ForCausalLM"]}).ropes[0].scaling
    reference = transformers.Phi3Config(**few).rope_parameters
    assert isinstance(scaling, LongScaling)
    assert scaling.original_max_positions == reference["original_max_position_embeddings"]


def test_a_description_crosses_as_json() -> None:
    config = LLAMA | {"rope_parameters": {"rope_type": "llama3", "rope_theta": 5e5, **LLAMA3}}
    spec = spec_from_config(config)
    described = json.loads(json.dumps(spec.resolved(4096)))
    assert described["num_layers"] == 8
    assert described["activation"] == "silu"
    assert described["layer_windows"] == [None] * 8
    resolved = spec.ropes[0].resolve(4096)
    assert described["ropes"] == [{"frequencies": resolved.frequencies, "attention_factor": 1.0}]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hidden_size": None}, "has no hidden_size"),
        ({"hidden_size": "64"}, "hidden_size is '64', must be a number"),
        ({"num_hidden_layers": 2.5}, "num_hidden_layers is 2.5, must be an integer"),
        ({"num_hidden_layers": 0}, "num_layers is 0, must be 1 to 4096"),
        ({"num_hidden_layers": -1}, "num_layers is -1, must be 1 to 4096"),
        ({"num_hidden_layers": 10**9}, "num_layers is 1000000000, must be 1 to 4096"),
        ({"num_hidden_layers": 10**400}, "num_hidden_layers is 10+, must be a number"),
        ({"num_attention_heads": 0}, "num_heads is 0"),
        ({"num_key_value_heads": 3}, "4 heads are no multiple of its 3 kv heads"),
        ({"head_dim": 15}, "rope turns 15 cells of a head, must be an even number"),
        ({"rms_norm_eps": math.nan}, "rms_norm_eps is nan"),
        ({"rms_norm_eps": -1.0}, "norm_eps is -1.0, must be at least 0"),
        ({"hidden_act": "relu6"}, "activation 'relu6'"),
        ({"rope_parameters": 3}, "rope_parameters is 3, must be an object"),
        ({"rope_parameters": {"partial_rotary_factor": 0.5}}, "partial_rotary_factor"),
        ({"rope_parameters": {"rope_theta": -1.0}}, "theta is -1.0"),
        (
            {"architectures": ["MistralForCausalLM"], "sliding_window": 0},
            "window is 0, must be at least 1",
        ),
        (
            {"architectures": ["Gemma2ForCausalLM"], "layer_types": ["full_attention"]},
            "layer_types describes 1 layers, must be 8",
        ),
        (
            {"architectures": ["Gemma2ForCausalLM"], "layer_types": [["full_attention"]] * 8},
            "layer_types has .*, only full_attention and sliding_attention",
        ),
        (
            {"architectures": ["Gemma2ForCausalLM"], "use_bidirectional_attention": True},
            "attention to later tokens",
        ),
        (
            {"architectures": ["Gemma2ForCausalLM"], "query_pre_attn_scalar": 0},
            "query_pre_attn_scalar is 0, must be above 0",
        ),
        (
            {"architectures": ["Gemma2ForCausalLM"], "attn_logit_softcapping": -2.0},
            "attention_softcap is -2.0, must be above 0",
        ),
        (
            {"architectures": ["GraniteForCausalLM"], "logits_scaling": 0},
            "logits_scaling is 0, must be above 0",
        ),
        (
            {"architectures": ["Phi3ForCausalLM"], "partial_rotary_factor": 1.5},
            "factor is 1.5, must be above 0",
        ),
    ],
)
def test_configs_that_describe_no_known_decoder_are_refused(
    changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ModelError, match=message):
        spec_from_config(LLAMA | changes)


JUNK = [None, True, 0, -1, 3, 0.5, 1e308, 10**400, math.nan, "x", [], [0], ["x"] * 9, {}, {"a": 1}]


@pytest.mark.parametrize(("config_class", "architecture"), FAMILIES)
def test_no_value_of_any_key_crashes(config_class: str, architecture: str) -> None:
    few = SIZES | {"rope_parameters": None}
    full = getattr(transformers, config_class)(**few).to_dict()
    full |= {"architectures": [architecture], "rope_scaling": None, "partial_rotary_factor": None}
    full |= {"sliding_window_pattern": 6, "layer_types": None, "no_rope_layers": None}
    for key in full:
        for value in JUNK:
            with suppress(ModelError):
                spec_from_config(full | {key: value})


@pytest.mark.parametrize("rope_type", ["linear", "dynamic", "llama3", "yarn", "longrope"])
def test_no_value_of_any_rope_key_crashes(rope_type: str) -> None:
    rope = {"rope_type": rope_type, **LLAMA3, "rope_theta": 1e4, "partial_rotary_factor": 1.0}
    rope |= {"short_factor": [1.0] * 8, "long_factor": [1.0] * 8, "attention_factor": None}
    rope |= {"beta_fast": 32, "beta_slow": 1, "mscale": 1, "mscale_all_dim": 1, "truncate": False}
    spec_from_config(LLAMA | {"rope_parameters": rope})
    for key in rope:
        for value in JUNK:
            with suppress(ModelError):
                spec_from_config(LLAMA | {"rope_parameters": rope | {key: value}})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"architectures": ["MambaForCausalLM"]},
            "MambaForCausalLM is not supported: serve one of Llama.*SmolLM3",
        ),
        ({"architectures": None, "model_type": "t5"}, "model_type t5 is not supported"),
    ],
)
def test_unknown_architectures_are_told_apart(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UnsupportedModelError, match=message):
        spec_from_config(LLAMA | changes)


def test_descriptions_must_have_every_layer() -> None:
    spec = spec_from_config(LLAMA)
    with pytest.raises(ModelError, match="attention of 7 layers and the rope of 8, but has 8"):
        replace(spec, layer_windows=(None,) * 7)


def test_smollm2_is_described_by_its_metadata() -> None:
    spec = resolve(EMBEDDED_MODEL).spec()
    assert (spec.num_layers, spec.num_heads, spec.num_kv_heads, spec.head_dim) == (30, 9, 3, 64)
    assert (spec.hidden_size, spec.intermediate_size, spec.vocab_size) == (576, 1536, 49152)
    assert (spec.max_positions, spec.tied_embeddings) == (8192, True)
    assert spec.ropes == (RopeSpec(100_000.0, 64),)
