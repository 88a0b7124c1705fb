"""Translates GGUF metadata into a `DecoderSpec`, and llama.cpp's tensors into Hugging Face's."""

import math
from typing import Any

from text_generation_server.models.errors import ModelError
from text_generation_server.models.gguf import GgufFile
from text_generation_server.models.spec import (
    DecoderSpec,
    DivisorScaling,
    LinearScaling,
    RopeSpec,
    TensorPlace,
)

_ROPE_DIVISORS = "rope_freqs.weight"
_HEAD = "output.weight"
_TOP_NAMES = {
    "token_embd.weight": "model.embed_tokens.weight",
    "output_norm.weight": "model.norm.weight",
    _HEAD: "lm_head.weight",
}
_LAYER_NAMES = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}


def spec_from_gguf(file: GgufFile) -> DecoderSpec:
    """Raises ModelError for an unsupported architecture and for missing numbers."""
    architecture = file.require("general.architecture")
    if architecture != "llama":
        raise ModelError(f"the GGUF architecture {architecture!r} is not supported, only llama")
    if file.get("llama.expert_count", 0):
        raise ModelError("mixtures of experts (llama.expert_count) are not supported")
    heads = _number(file, "attention.head_count")
    hidden = _number(file, "embedding_length")
    head_dim = _number(file, "attention.key_length", hidden // max(heads, 1))
    return DecoderSpec(
        architecture="LlamaForCausalLM",
        vocab_size=_number(file, "vocab_size", len(file.require("tokenizer.ggml.tokens"))),
        hidden_size=hidden,
        intermediate_size=_number(file, "feed_forward_length"),
        num_layers=_number(file, "block_count"),
        num_heads=heads,
        num_kv_heads=_number(file, "attention.head_count_kv", heads),
        head_dim=head_dim,
        max_positions=_number(file, "context_length"),
        norm_eps=_number(file, "attention.layer_norm_rms_epsilon"),
        rope=_rope(file, head_dim),
        attention_bias="blk.0.attn_q.bias" in file.tensor_names,
        mlp_bias="blk.0.ffn_gate.bias" in file.tensor_names,
        tied_embeddings=_HEAD not in file.tensor_names,
    )


def places(name: str, spec: DecoderSpec) -> tuple[TensorPlace, ...]:
    """Where the file's tensor `name` belongs in the decoder; nowhere if it is no weight. A name
    that llama.cpp does not give to a decoder's weights stays as it is."""
    if name == _ROPE_DIVISORS:
        return ()
    # llama.cpp rotates neighbouring cells, Hugging Face the two halves of a head; its converter
    # interleaves the halves of q and k (`LlamaModel.permute`).
    if ".attn_q." in name:
        return (TensorPlace(_hugging_face_name(name), interleaved_heads=spec.num_heads),)
    if ".attn_k." in name:
        return (TensorPlace(_hugging_face_name(name), interleaved_heads=spec.num_kv_heads),)
    return (TensorPlace(_hugging_face_name(name)),)


def _number(file: GgufFile, key: str, default: Any = None) -> Any:
    """The number of an architecture's key: an int or a float, as the file has it."""
    value = file.require(f"llama.{key}", default)
    if not isinstance(value, int | float) or not math.isfinite(value):
        raise ModelError(f"{file.path}: llama.{key} is {value!r}, must be a number")
    return value


def _rope(file: GgufFile, head_dim: int) -> RopeSpec:
    rotated = _number(file, "rope.dimension_count", head_dim)
    if rotated != head_dim:
        raise ModelError(f"rope over {rotated} of {head_dim} cells of a head is not supported")
    theta = _number(file, "rope.freq_base", 10_000.0)
    if _ROPE_DIVISORS in file.tensor_names:
        return RopeSpec(theta, DivisorScaling(tuple(file.float_vector(_ROPE_DIVISORS))))
    match file.get("llama.rope.scaling.type", "none"):
        case "none":
            return RopeSpec(theta)
        case "linear":
            return RopeSpec(theta, LinearScaling(_number(file, "rope.scaling.factor")))
        case other:
            raise ModelError(f"the rope scaling {other!r} is not supported, only linear")


def _hugging_face_name(name: str) -> str:
    if name in _TOP_NAMES:
        return _TOP_NAMES[name]
    block, _, rest = name.partition(".")
    layer, _, rest = rest.partition(".")
    part, _, kind = rest.partition(".")
    if block != "blk" or part not in _LAYER_NAMES:
        return name
    return f"model.layers.{layer}.{_LAYER_NAMES[part]}.{kind}"
