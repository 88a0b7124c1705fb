"""Translates GGUF metadata into a `DecoderSpec`, and llama.cpp's tensors into Hugging Face's.

What a file does not say llama.cpp knows by architecture, and so does `_FAMILIES`.
"""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

from text_generation_server.models.errors import ModelError, UnsupportedModelError
from text_generation_server.models.gguf import GgufFile
from text_generation_server.models.rope import (
    DivisorScaling,
    LinearScaling,
    LongScaling,
    RopeSpec,
    Scaling,
    YarnScaling,
    yarn_attention_factor,
)
from text_generation_server.models.spec import (
    Activation,
    DecoderSpec,
    QkNorm,
    TensorPlace,
    every_layer,
    gate_up_places,
    qkv_places,
)

_HEAD = "output.weight"
_TOP_NAMES = {
    "token_embd.weight": "model.embed_tokens.weight",
    "output_norm.weight": "model.norm.weight",
    _HEAD: "lm_head.weight",
}
_LAYER_NAMES = {
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "attn_q_norm": "self_attn.q_norm",
    "attn_k_norm": "self_attn.k_norm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
_NORM_NAMES = ("attn_norm", "post_attention_norm", "ffn_norm", "post_ffw_norm")
"""Of `LayerNorms`, in its order."""
_DIVISORS = "rope_freqs.weight"
_SHORT_DIVISORS, _LONG_DIVISORS = "rope_factors_short.weight", "rope_factors_long.weight"


def spec_from_gguf(file: GgufFile) -> DecoderSpec:
    """Raises UnsupportedModelError for a model without a description, and ModelError for
    missing or damaged numbers."""
    architecture = file.require("general.architecture")
    if architecture not in _FAMILIES:
        raise UnsupportedModelError(
            f"the GGUF architecture {architecture!r} is not supported, only " + ", ".join(_FAMILIES)
        )
    if file.get(f"{architecture}.expert_count", 0):
        raise ModelError(f"mixtures of experts ({architecture}.expert_count) are not supported")
    family = _FAMILIES[architecture]
    return family.adapt(file, _decoder(file, family))


def _decoder(file: GgufFile, family: "_Family") -> DecoderSpec:
    """Llama's decoder, which families change."""
    heads = _integer(file, "attention.head_count")
    hidden = _integer(file, "embedding_length")
    layers = _integer(file, "block_count")
    head_dim = _integer(file, "attention.key_length", hidden // max(heads, 1))
    rope = _rope(file, head_dim)
    if rope.rotary_dim != head_dim and family.name in _INTERLEAVED:
        raise ModelError(
            f"rope over {rope.rotary_dim} of {head_dim} cells of a head is not supported"
        )
    return DecoderSpec(
        architecture=family.name,
        vocab_size=_integer(file, "vocab_size", len(file.require("tokenizer.ggml.tokens"))),
        hidden_size=hidden,
        intermediate_size=_integer(file, "feed_forward_length"),
        num_layers=layers,
        num_heads=heads,
        num_kv_heads=_integer(file, "attention.head_count_kv", heads),
        head_dim=head_dim,
        max_positions=rope.stretched(_integer(file, "context_length")),
        norm_eps=_number(file, "attention.layer_norm_rms_epsilon"),
        attention_scale=max(head_dim, 1) ** -0.5,
        layer_windows=every_layer(None, layers),
        ropes=(rope,),
        layer_ropes=every_layer(0, layers),
        qkv_bias="blk.0.attn_q.bias" in file.tensor_names,
        output_bias="blk.0.attn_output.bias" in file.tensor_names,
        mlp_bias="blk.0.ffn_gate.bias" in file.tensor_names,
        tied_embeddings=_HEAD not in file.tensor_names,
    )


def _llama(file: GgufFile, spec: DecoderSpec) -> DecoderSpec:
    return spec


def _qwen3(file: GgufFile, spec: DecoderSpec) -> DecoderSpec:
    return replace(spec, qk_norm=QkNorm.HEAD)


def _gemma2(file: GgufFile, spec: DecoderSpec) -> DecoderSpec:
    # The 27B models, which llama.cpp tells by their layers, scale as if the heads split the hidden
    # size.
    is_27b = spec.num_layers == _GEMMA_27B_LAYERS[spec.architecture]
    per_head = spec.hidden_size // spec.num_heads if is_27b else spec.head_dim
    return replace(
        spec,
        activation=Activation.GELU_TANH,
        attention_scale=_number(file, "attention.scale", max(per_head, 1) ** -0.5),
        attention_softcap=_number(file, "attn_logit_softcapping", 50.0) or None,
        logit_softcap=_number(file, "final_logit_softcapping", 30.0) or None,
        embedding_multiplier=spec.hidden_size**0.5,
        # The 1 that this family adds to its norms' weights is already in the file's.
        norm_offset=0.0,
        post_norms=True,
        layer_windows=_windows(file, spec, _slides(file, spec, 2), default=4096),
    )


def _gemma3(file: GgufFile, spec: DecoderSpec) -> DecoderSpec:
    slides = _slides(file, spec, 6)
    local = RopeSpec(_number(file, "rope.freq_base_swa", 10_000.0), spec.head_dim)
    return replace(
        _gemma2(file, spec),
        attention_softcap=None,
        logit_softcap=_number(file, "final_logit_softcapping", 0.0) or None,
        qk_norm=QkNorm.HEAD,
        layer_windows=_windows(file, spec, slides),
        ropes=(*spec.ropes, local),
        layer_ropes=tuple(int(slide) for slide in slides),
    )


def _phi3(file: GgufFile, spec: DecoderSpec) -> DecoderSpec:
    # llama.cpp leaves the window aside; here, as in transformers, it counts.
    return replace(spec, layer_windows=_windows(file, spec, [True] * spec.num_layers))


def _granite(file: GgufFile, spec: DecoderSpec) -> DecoderSpec:
    return replace(
        spec,
        attention_scale=_number(file, "attention.scale", spec.attention_scale),
        embedding_multiplier=_number(file, "embedding_scale", 1.0),
        residual_multiplier=_number(file, "residual_scale", 1.0),
        logit_multiplier=1 / (_number(file, "logit_scale", 1.0) or 1.0),
    )


def _olmo2(file: GgufFile, spec: DecoderSpec) -> DecoderSpec:
    return replace(spec, pre_norms=False, post_norms=True, qk_norm=QkNorm.PROJECTION)


def _smollm3(file: GgufFile, spec: DecoderSpec) -> DecoderSpec:
    # Every fourth layer does not rotate; the file does not say so.
    return replace(
        spec, layer_ropes=tuple(None if i % 4 == 3 else 0 for i in range(spec.num_layers))
    )


class _Family(NamedTuple):
    name: str
    """Hugging Face's."""
    adapt: Callable[[GgufFile, DecoderSpec], DecoderSpec]


_FAMILIES = {
    # Mistral's models, too.
    "llama": _Family("LlamaForCausalLM", _llama),
    "qwen2": _Family("Qwen2ForCausalLM", _llama),
    "qwen3": _Family("Qwen3ForCausalLM", _qwen3),
    "gemma2": _Family("Gemma2ForCausalLM", _gemma2),
    "gemma3": _Family("Gemma3ForCausalLM", _gemma3),
    "phi3": _Family("Phi3ForCausalLM", _phi3),
    "granite": _Family("GraniteForCausalLM", _granite),
    "olmo2": _Family("Olmo2ForCausalLM", _olmo2),
    "smollm3": _Family("SmolLM3ForCausalLM", _smollm3),
}
_GEMMA_27B_LAYERS = {"Gemma2ForCausalLM": 46, "Gemma3ForCausalLM": 62}
# For these llama.cpp rotates neighbouring cells, Hugging Face the two halves of a head; its
# converter interleaves the halves of q and k (`LlamaModel.permute`).
_INTERLEAVED = ("LlamaForCausalLM", "GraniteForCausalLM", "SmolLM3ForCausalLM")


def places(name: str, spec: DecoderSpec) -> tuple[TensorPlace, ...]:
    """Where the file's tensor `name` belongs in the decoder; nowhere if it is no weight. A name
    that llama.cpp does not give to a decoder's weights stays as it is."""
    if name in (_DIVISORS, _SHORT_DIVISORS, _LONG_DIVISORS):
        return ()
    if name in _TOP_NAMES:
        return (TensorPlace(_TOP_NAMES[name]),)
    block, _, rest = name.partition(".")
    layer, _, rest = rest.partition(".")
    part, _, kind = rest.partition(".")
    if block != "blk":
        return (TensorPlace(name),)
    prefix = f"model.layers.{layer}."
    if part == "attn_qkv":
        return qkv_places(prefix, kind, spec)
    if part == "ffn_up" and spec.architecture == "Phi3ForCausalLM":
        return gate_up_places(prefix, kind, spec)
    names = _LAYER_NAMES | dict(zip(_NORM_NAMES, spec.layer_norms(), strict=True))
    translated = names.get(part)
    if translated is None:
        return (TensorPlace(name),)
    heads = {"attn_q": spec.num_heads, "attn_k": spec.num_kv_heads}.get(part, 0)
    interleaved = heads if spec.architecture in _INTERLEAVED else 0
    return (TensorPlace(f"{prefix}{translated}.{kind}", interleaved_heads=interleaved),)


def _slides(file: GgufFile, spec: DecoderSpec, period: int) -> list[bool]:
    """Of the layers: whether they have a window. All do but the last of each period."""
    pattern = file.get(f"{_architecture(file)}.attention.sliding_window_pattern", period)
    if isinstance(pattern, list):
        if len(pattern) < spec.num_layers:
            raise ModelError(
                f"{file.path}: attention.sliding_window_pattern describes {len(pattern)} layers, "
                f"must be {spec.num_layers}"
            )
        return [bool(slide) for slide in pattern[: spec.num_layers]]
    period = _integer(file, "attention.sliding_window_pattern", period)
    return [period < 1 or (i + 1) % period != 0 for i in range(spec.num_layers)]


def _windows(
    file: GgufFile, spec: DecoderSpec, slides: list[bool], default: int = 0
) -> tuple[int | None, ...]:
    size = _integer(file, "attention.sliding_window", default)
    # A window that nothing lies beyond is none, and so is one of 0.
    window = size if 0 < size < spec.max_positions else None
    return tuple(window if slide else None for slide in slides)


def _rope(file: GgufFile, head_dim: int) -> RopeSpec:
    theta = _number(file, "rope.freq_base", 10_000.0)
    return RopeSpec(theta, _integer(file, "rope.dimension_count", head_dim), _scaling(file))


def _scaling(file: GgufFile) -> Scaling | None:
    if _DIVISORS in file.tensor_names:
        return DivisorScaling(tuple(file.float_vector(_DIVISORS)))
    if _LONG_DIVISORS in file.tensor_names and _SHORT_DIVISORS in file.tensor_names:
        return LongScaling(
            tuple(file.float_vector(_SHORT_DIVISORS)),
            tuple(file.float_vector(_LONG_DIVISORS)),
            _original_positions(file),
            _number(file, "rope.scaling.attn_factor", 1.0),
        )
    factor = _number(file, "rope.scaling.factor", 1.0) or 1.0
    match file.get(f"{_architecture(file)}.rope.scaling.type", "linear"):
        case "none":
            return None
        case "linear":
            return None if factor == 1 else LinearScaling(factor)
        case "yarn":
            return YarnScaling(
                factor,
                _original_positions(file),
                yarn_attention_factor(factor) * _number(file, "rope.scaling.attn_factor", 1.0),
                _number(file, "rope.scaling.yarn_beta_fast", 32.0),
                _number(file, "rope.scaling.yarn_beta_slow", 1.0),
            )
        case other:
            raise ModelError(
                f"the rope scaling {other!r} is not supported, only linear and yarn, or tensors "
                "with divisors"
            )


def _original_positions(file: GgufFile) -> int:
    default = _integer(file, "context_length")
    return _integer(file, "rope.scaling.original_context_length", default)


def _architecture(file: GgufFile) -> str:
    return str(file.require("general.architecture"))


def _number(file: GgufFile, key: str, default: float | None = None) -> float:
    """The number of an architecture's key: an int or a float, as the file has it."""
    key = f"{_architecture(file)}.{key}"
    value: Any = file.require(key, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ModelError(f"{file.path}: {key} is {value!r}, must be a number")
    number: float = value
    return number


def _integer(file: GgufFile, key: str, default: int | None = None) -> int:
    value = _number(file, key, default)
    if value != int(value):
        raise ModelError(f"{file.path}: {key} is {value}, must be an integer")
    return int(value)
