"""Translates a Hugging Face config.json into a `DecoderSpec`, one short function a family.

Reads both forms of config: transformers 5 and before. A missing key means what it means to
transformers: what all families share is in `_decoder`, what differs in `_FAMILIES`.
"""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from text_generation_server.models.errors import ModelError, UnsupportedModelError
from text_generation_server.models.hf_rope import rope_from_config
from text_generation_server.models.json_values import JsonValues
from text_generation_server.models.spec import (
    Activation,
    DecoderSpec,
    QkNorm,
    TensorPlace,
    every_layer,
    gate_up_places,
    qkv_places,
)

_ACTIVATIONS = {
    "silu": Activation.SILU,
    "swish": Activation.SILU,
    "gelu": Activation.GELU,
    "gelu_new": Activation.GELU_TANH,
    "gelu_pytorch_tanh": Activation.GELU_TANH,
}
_PARTLY_ROTATED = ("Phi3ForCausalLM",)
_FULL, _SLIDING = "full_attention", "sliding_attention"


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
    """Raises UnsupportedModelError for a model without a description, and ModelError for an
    unsupported feature and for missing or damaged numbers."""
    values = JsonValues(config)
    names = values.list("architectures") or [f"model_type {config.get('model_type')}"]
    architecture = str(names[0])
    if architecture not in _FAMILIES:
        raise UnsupportedModelError(
            f"the architecture {architecture} is not supported: serve one of "
            + ", ".join(_FAMILIES)
        )
    if architecture == _GEMMA3_VISION:
        architecture, values = "Gemma3ForCausalLM", _text_values(values)
    family = _FAMILIES[architecture]
    values = values.with_defaults(family.defaults)
    return family.adapt(values, _decoder(architecture, values))


def places(name: str, spec: DecoderSpec) -> tuple[TensorPlace, ...]:
    """Where the stored tensor `name` belongs in the decoder; nowhere if the decoder needs it not. A
    name that is no decoder's stays as it is."""
    name = _text_name(name)
    # Old checkpoints carry along a buffer; the rope's frequencies come from the config.
    if name.startswith(_NOT_TEXT) or name.endswith("rotary_emb.inv_freq"):
        return ()
    if name == "lm_head.weight" and spec.tied_embeddings:
        return ()
    prefix, _, rest = name.rpartition(".self_attn.qkv_proj.")
    if prefix:
        return qkv_places(f"{prefix}.", rest, spec)
    prefix, _, rest = name.rpartition(".mlp.gate_up_proj.")
    if prefix:
        return gate_up_places(f"{prefix}.", rest, spec)
    return (TensorPlace(name),)


# Models that also see: older files put the decoder under one prefix, newer ones under another.
_NOT_TEXT = (
    "vision_tower.",
    "multi_modal_projector.",
    "model.vision_tower.",
    "model.multi_modal_projector.",
)


def _text_name(name: str) -> str:
    if name.startswith("model.language_model."):
        return "model." + name.removeprefix("model.language_model.")
    return name.removeprefix("language_model.")


def _decoder(architecture: str, config: JsonValues) -> DecoderSpec:
    """Llama's decoder, which families change."""
    heads = config.integer("num_attention_heads")
    hidden = config.integer("hidden_size")
    layers = config.integer("num_hidden_layers")
    head_dim = config.integer("head_dim", hidden // max(heads, 1))
    rope = rope_from_config(config, head_dim)
    if rope.rotary_dim != head_dim and architecture not in _PARTLY_ROTATED:
        raise ModelError(
            f"rope over a part of the head (partial_rotary_factor) is not supported for "
            f"{architecture}"
        )
    attention_bias = config.flag("attention_bias", False)
    return DecoderSpec(
        architecture=architecture,
        vocab_size=config.integer("vocab_size"),
        hidden_size=hidden,
        intermediate_size=config.integer("intermediate_size"),
        num_layers=layers,
        num_heads=heads,
        num_kv_heads=config.integer("num_key_value_heads", heads),
        head_dim=head_dim,
        max_positions=rope.stretched(config.integer("max_position_embeddings")),
        norm_eps=config.number("rms_norm_eps", 1e-6),
        attention_scale=max(head_dim, 1) ** -0.5,
        layer_windows=every_layer(None, layers),
        ropes=(rope,),
        layer_ropes=every_layer(0, layers),
        activation=_activation(config, "hidden_act"),
        qkv_bias=attention_bias,
        output_bias=attention_bias,
        mlp_bias=config.flag("mlp_bias", False),
        tied_embeddings=config.flag("tie_word_embeddings", False),
    )


def _llama(config: JsonValues, spec: DecoderSpec) -> DecoderSpec:
    return spec


def _always_windowed(config: JsonValues, spec: DecoderSpec) -> DecoderSpec:
    return replace(spec, layer_windows=_windows(config, spec, [_SLIDING] * spec.num_layers))


def _qwen2(config: JsonValues, spec: DecoderSpec) -> DecoderSpec:
    return replace(
        spec, qkv_bias=True, output_bias=False, layer_windows=_late_windows(config, spec)
    )


def _qwen3(config: JsonValues, spec: DecoderSpec) -> DecoderSpec:
    return replace(spec, qk_norm=QkNorm.HEAD, layer_windows=_late_windows(config, spec))


def _gemma2(config: JsonValues, spec: DecoderSpec) -> DecoderSpec:
    if config.flag("use_bidirectional_attention", False):
        raise ModelError("attention to later tokens (use_bidirectional_attention) is not supported")
    return replace(
        spec,
        activation=_activation(config, "hidden_activation"),
        attention_scale=_above_zero(config, "query_pre_attn_scalar") ** -0.5,
        attention_softcap=_optional_number(config, "attn_logit_softcapping"),
        embedding_multiplier=spec.hidden_size**0.5,
        logit_softcap=_optional_number(config, "final_logit_softcapping"),
        norm_offset=1.0,
        post_norms=True,
        layer_windows=_windows(config, spec, _layer_types(config, spec, _periodic(spec, 2))),
    )


def _gemma3(config: JsonValues, spec: DecoderSpec) -> DecoderSpec:
    types = _layer_types(config, spec, _periodic(spec, config.integer("sliding_window_pattern")))
    ropes = config.section("rope_parameters")
    local_theta = {"rope_theta": config.number("rope_local_base_freq")}
    local = ropes.section(_SLIDING).with_defaults(local_theta)
    everywhere = config.section("rope_scaling") or ropes.section(_FULL)
    return replace(
        _gemma2(config, spec),
        # The family has lost the soft cap of its attention, but not the key.
        attention_softcap=None,
        qk_norm=QkNorm.HEAD,
        layer_windows=_windows(config, spec, types),
        ropes=tuple(rope_from_config(config, spec.head_dim, rope) for rope in (everywhere, local)),
        layer_ropes=tuple(int(kind == _SLIDING) for kind in types),
    )


def _text_values(config: JsonValues) -> JsonValues:
    """Of the decoder in a model that also sees; published configs leave out these numbers."""
    return config.section("text_config").with_defaults(
        {
            "tie_word_embeddings": config.flag("tie_word_embeddings", True),
            "vocab_size": 262_208,
            "hidden_size": 2304,
            "intermediate_size": 9216,
            "num_hidden_layers": 26,
            "num_attention_heads": 8,
            "max_position_embeddings": 131_072,
        }
    )


def _granite(config: JsonValues, spec: DecoderSpec) -> DecoderSpec:
    return replace(
        spec,
        attention_scale=config.number("attention_multiplier", 1.0),
        embedding_multiplier=config.number("embedding_multiplier", 1.0),
        residual_multiplier=config.number("residual_multiplier", 1.0),
        logit_multiplier=1 / _above_zero(config, "logits_scaling"),
    )


def _olmo2(config: JsonValues, spec: DecoderSpec) -> DecoderSpec:
    return replace(spec, pre_norms=False, post_norms=True, qk_norm=QkNorm.PROJECTION)


def _smollm3(config: JsonValues, spec: DecoderSpec) -> DecoderSpec:
    periodic = _periodic(spec, config.integer("no_rope_layer_interval"), 1, 0)
    rotated = _per_layer(config, spec, "no_rope_layers", periodic)
    types = _layer_types(config, spec, [_FULL if rope else _SLIDING for rope in rotated])
    return replace(
        spec,
        layer_ropes=tuple(0 if rope else None for rope in rotated),
        layer_windows=_switched_windows(config, spec, types),
    )


class _Family(NamedTuple):
    adapt: Callable[[JsonValues, DecoderSpec], DecoderSpec]
    defaults: dict[str, Any]
    """Of keys that are absent; a null stays null."""


_GEMMA = {
    "num_key_value_heads": 4,
    "head_dim": 256,
    "hidden_activation": "gelu_pytorch_tanh",
    "query_pre_attn_scalar": 256,
    "sliding_window": 4096,
    "tie_word_embeddings": True,
}
_GEMMA2 = {"attn_logit_softcapping": 50.0, "final_logit_softcapping": 30.0}
_GEMMA3 = {"sliding_window_pattern": 6, "rope_theta": 1e6, "rope_local_base_freq": 1e4}
_QWEN = {"num_key_value_heads": 32, "sliding_window": 4096, "max_window_layers": 28}
_SMOLLM3 = {"num_key_value_heads": 4, "rope_theta": 2e6, "no_rope_layer_interval": 4}
_GEMMA3_VISION = "Gemma3ForConditionalGeneration"

_FAMILIES = {
    "LlamaForCausalLM": _Family(_llama, {}),
    "MistralForCausalLM": _Family(
        _always_windowed, {"num_key_value_heads": 8, "sliding_window": 4096}
    ),
    "Qwen2ForCausalLM": _Family(_qwen2, _QWEN),
    "Qwen3ForCausalLM": _Family(_qwen3, _QWEN | {"head_dim": 128}),
    "Gemma2ForCausalLM": _Family(_gemma2, _GEMMA | _GEMMA2),
    "Gemma3ForCausalLM": _Family(_gemma3, _GEMMA | _GEMMA3),
    _GEMMA3_VISION: _Family(_gemma3, _GEMMA | _GEMMA3),
    "Phi3ForCausalLM": _Family(
        _always_windowed, {"rms_norm_eps": 1e-5, "original_max_position_embeddings": 4096}
    ),
    "GraniteForCausalLM": _Family(_granite, {"logits_scaling": 1.0}),
    "Olmo2ForCausalLM": _Family(_olmo2, {"rms_norm_eps": 1e-5}),
    "SmolLM3ForCausalLM": _Family(_smollm3, _SMOLLM3 | {"tie_word_embeddings": True}),
}


def _periodic(
    spec: DecoderSpec, period: int, usual: Any = _SLIDING, last: Any = _FULL
) -> list[Any]:
    """Of the layers: `last` for the last of each period, `usual` for the others."""
    return [usual if (i + 1) % max(period, 1) else last for i in range(spec.num_layers)]


def _layer_types(config: JsonValues, spec: DecoderSpec, default: list[str]) -> list[str]:
    types = _per_layer(config, spec, "layer_types", default)
    for kind in types:
        if kind not in (_FULL, _SLIDING):
            raise ModelError(
                f"config.json: layer_types has {kind!r}, only {_FULL} and {_SLIDING} are supported"
            )
    return types


def _per_layer(config: JsonValues, spec: DecoderSpec, key: str, default: list[Any]) -> list[Any]:
    values = config.list(key) or default
    if len(values) < spec.num_layers:
        raise ModelError(
            f"config.json: {key} describes {len(values)} layers, must be {spec.num_layers}"
        )
    return values[: spec.num_layers]


def _windows(config: JsonValues, spec: DecoderSpec, types: list[str]) -> tuple[int | None, ...]:
    """types: of the layers."""
    if "sliding_window" not in config:
        return (None,) * spec.num_layers
    size = config.integer("sliding_window")
    # A window that nothing lies beyond is none.
    window = size if size < spec.max_positions else None
    return tuple(window if kind == _SLIDING else None for kind in types)


def _switched_windows(
    config: JsonValues, spec: DecoderSpec, types: list[str]
) -> tuple[int | None, ...]:
    """The same, where the config must also say that it means its window."""
    uses_windows = config.flag("use_sliding_window", False)
    return _windows(config, spec, types) if uses_windows else spec.layer_windows


def _late_windows(config: JsonValues, spec: DecoderSpec) -> tuple[int | None, ...]:
    """Qwen's: in the last layers, if at all."""
    first = min(max(config.integer("max_window_layers"), 0), spec.num_layers)
    late = [*[_FULL] * first, *[_SLIDING] * (spec.num_layers - first)]
    return _switched_windows(config, spec, _layer_types(config, spec, late))


def _activation(config: JsonValues, key: str) -> Activation:
    name = config.text(key, "silu")
    if name not in _ACTIVATIONS:
        raise ModelError(
            f"the activation {name!r} is not supported, only {', '.join(_ACTIVATIONS)}"
        )
    return _ACTIVATIONS[name]


def _above_zero(config: JsonValues, key: str) -> float:
    value = config.number(key)
    if value <= 0:
        raise ModelError(f"config.json: {key} is {value}, must be above 0")
    return value


def _optional_number(config: JsonValues, key: str) -> float | None:
    return config.number(key) if key in config else None
