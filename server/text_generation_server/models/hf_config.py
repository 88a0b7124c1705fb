"""Translates a Hugging Face config.json into a `DecoderSpec`.

Reads both forms: transformers 5 (`rope_parameters`) and before (`rope_theta`, `rope_scaling`).
A missing optional key means what it means to transformers.
"""

import json
import math
from pathlib import Path
from typing import Any

from text_generation_server.models.errors import ModelError
from text_generation_server.models.spec import (
    Activation,
    DecoderSpec,
    LinearScaling,
    Llama3Scaling,
    RopeSpec,
)

_ARCHITECTURES = ("LlamaForCausalLM", "MistralForCausalLM")
_ACTIVATIONS = {
    "silu": Activation.SILU,
    "swish": Activation.SILU,
    "gelu": Activation.GELU,
    "gelu_new": Activation.GELU_TANH,
    "gelu_pytorch_tanh": Activation.GELU_TANH,
}


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file. Raises ModelError naming the file."""
    try:
        value = json.loads(path.read_bytes())
    except FileNotFoundError as error:
        raise ModelError(f"{path} is missing: the model folder is incomplete") from error
    except (OSError, ValueError) as error:
        raise ModelError(f"{path} cannot be read as JSON: {error}") from error
    if not isinstance(value, dict):
        raise ModelError(f"{path} holds no JSON object")
    return value


def spec_from_config(config: dict[str, Any]) -> DecoderSpec:
    """Raises ModelError for an unsupported architecture or feature and for missing numbers."""
    architecture = _supported_architecture(config)
    heads = _integer(config, "num_attention_heads")
    hidden = _integer(config, "hidden_size")
    return DecoderSpec(
        architecture=architecture,
        vocab_size=_integer(config, "vocab_size"),
        hidden_size=hidden,
        intermediate_size=_integer(config, "intermediate_size"),
        num_layers=_integer(config, "num_hidden_layers"),
        num_heads=heads,
        num_kv_heads=_integer(config, "num_key_value_heads", heads),
        head_dim=_integer(config, "head_dim", hidden // max(heads, 1)),
        max_positions=_integer(config, "max_position_embeddings"),
        norm_eps=_number(config, "rms_norm_eps", 1e-6),
        rope=_rope(config),
        activation=_activation(config),
        attention_bias=bool(config.get("attention_bias", False)),
        mlp_bias=bool(config.get("mlp_bias", False)),
        tied_embeddings=bool(config.get("tie_word_embeddings", False)),
    )


def _supported_architecture(config: dict[str, Any]) -> str:
    names = config.get("architectures") or [f"model_type {config.get('model_type')}"]
    architecture = str(names[0])
    if architecture not in _ARCHITECTURES:
        raise ModelError(
            f"the architecture {architecture} is not supported: serve one of "
            + ", ".join(_ARCHITECTURES)
        )
    window = config.get("sliding_window")
    if window is not None and window < _integer(config, "max_position_embeddings"):
        raise ModelError(f"sliding window attention (sliding_window {window}) is not supported")
    return architecture


def _activation(config: dict[str, Any]) -> Activation:
    name = config.get("hidden_act", "silu")
    if name not in _ACTIVATIONS:
        raise ModelError(
            f"the activation {name!r} is not supported, only {', '.join(_ACTIVATIONS)}"
        )
    return _ACTIVATIONS[name]


def _rope(config: dict[str, Any]) -> RopeSpec:
    scaling = config.get("rope_parameters") or config.get("rope_scaling") or {}
    theta = _number(scaling, "rope_theta", _number(config, "rope_theta", 10_000.0))
    if _number(scaling, "partial_rotary_factor", 1.0) != 1.0:
        raise ModelError("rope over a part of the head (partial_rotary_factor) is not supported")
    match scaling.get("rope_type", scaling.get("type", "default")):
        case "default":
            return RopeSpec(theta)
        case "linear":
            return RopeSpec(theta, LinearScaling(_factor(scaling)))
        case "llama3":
            return RopeSpec(theta, _llama3_scaling(scaling))
        case other:
            raise ModelError(
                f"the rope type {other!r} is not supported, only default, linear and llama3"
            )


def _llama3_scaling(scaling: dict[str, Any]) -> Llama3Scaling:
    low, high = _number(scaling, "low_freq_factor"), _number(scaling, "high_freq_factor")
    if not low < high:
        raise ModelError(
            f"config.json: low_freq_factor {low} must be below high_freq_factor {high}"
        )
    original = _integer(scaling, "original_max_position_embeddings")
    return Llama3Scaling(_factor(scaling), low, high, original)


def _factor(scaling: dict[str, Any]) -> float:
    factor = _number(scaling, "factor")
    if factor <= 0:
        raise ModelError(f"config.json: the rope's factor is {factor}, must be above 0")
    return factor


def _integer(config: dict[str, Any], key: str, default: int | None = None) -> int:
    value = _number(config, key, default)
    if value != int(value):
        raise ModelError(f"config.json: {key} is {value}, must be an integer")
    return int(value)


def _number(config: dict[str, Any], key: str, default: float | None = None) -> float:
    value = config.get(key)
    if value is None:
        value = default
    if value is None:
        raise ModelError(f"config.json has no {key}")
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ModelError(f"config.json: {key} is {value!r}, must be a number")
    return value
