"""A GGUF file (llama.cpp's single-file format) as a decoder's description and float weights.

Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md. Reading and dequantising is the
`gguf` library's; this module owns the translation into Hugging Face's names and layout.
"""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import numpy.typing as npt

from text_generation_server.models.errors import ModelError, UnsupportedModelError
from text_generation_server.models.spec import (
    DecoderSpec,
    DivisorScaling,
    LinearScaling,
    RopeSpec,
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


class GgufFile:
    """A parsed GGUF file; tensor data stays on disk (mapped) until it is read."""

    def __init__(self, path: Path) -> None:
        """Raises ModelError for a file that is not a whole GGUF."""
        self.path = path
        try:
            self._reader = gguf.GGUFReader(path)
        except (OSError, ValueError, LookupError, OverflowError) as error:
            # The library trusts lengths in the file: a truncated one ends in any of these.
            raise ModelError(
                f"{path} is truncated or not a GGUF file ({error}): download it again"
            ) from error
        self._tensors = {tensor.name: tensor for tensor in self._reader.tensors}

    def get(self, key: str, default: Any = None) -> Any:
        """A metadata value: str, int, float, bool or a list of one of them. Raises ModelError when
        it cannot be read."""
        field = self._reader.get_field(key)
        try:
            return default if field is None else field.contents()
        except ValueError as error:
            raise ModelError(f"{self.path}: the value of {key} is damaged: {error}") from error

    def require(self, key: str, default: Any = None) -> Any:
        """A metadata value. Raises ModelError when there is none, neither here nor as default."""
        value = self.get(key, default)
        if value is None:
            raise ModelError(f"{self.path} has no metadata key {key}: it is no complete model")
        return value

    def spec(self) -> DecoderSpec:
        """Raises ModelError for an unsupported architecture and for missing numbers."""
        architecture = self.require("general.architecture")
        if architecture != "llama":
            raise UnsupportedModelError(
                f"the GGUF architecture {architecture!r} is not supported, only llama"
            )
        if self.get("llama.expert_count", 0):
            raise ModelError("mixtures of experts (llama.expert_count) are not supported")
        heads = self._number("attention.head_count")
        hidden = self._number("embedding_length")
        head_dim = self._number("attention.key_length", hidden // max(heads, 1))
        return DecoderSpec(
            architecture="LlamaForCausalLM",
            vocab_size=self._number("vocab_size", len(self.require("tokenizer.ggml.tokens"))),
            hidden_size=hidden,
            intermediate_size=self._number("feed_forward_length"),
            num_layers=self._number("block_count"),
            num_heads=heads,
            num_kv_heads=self._number("attention.head_count_kv", heads),
            head_dim=head_dim,
            max_positions=self._number("context_length"),
            norm_eps=self._number("attention.layer_norm_rms_epsilon"),
            rope=self._rope(head_dim),
            attention_bias="blk.0.attn_q.bias" in self._tensors,
            mlp_bias="blk.0.ffn_gate.bias" in self._tensors,
            tied_embeddings=_HEAD not in self._tensors,
        )

    def _number(self, key: str, default: Any = None) -> Any:
        """The number of an architecture's key: an int or a float, as the file has it."""
        value = self.require(f"llama.{key}", default)
        if not isinstance(value, int | float) or not math.isfinite(value):
            raise ModelError(f"{self.path}: llama.{key} is {value!r}, must be a number")
        return value

    def _rope(self, head_dim: int) -> RopeSpec:
        rotated = self._number("rope.dimension_count", head_dim)
        if rotated != head_dim:
            raise ModelError(f"rope over {rotated} of {head_dim} cells of a head is not supported")
        theta = self._number("rope.freq_base", 10_000.0)
        if _ROPE_DIVISORS in self._tensors:
            divisors = self._dequantized(_ROPE_DIVISORS)
            return RopeSpec(theta, DivisorScaling(tuple(divisors.tolist())))
        match self.get("llama.rope.scaling.type", "none"):
            case "none":
                return RopeSpec(theta)
            case "linear":
                return RopeSpec(theta, LinearScaling(self._number("rope.scaling.factor")))
            case other:
                raise ModelError(f"the rope scaling {other!r} is not supported, only linear")

    def tensors(self, spec: DecoderSpec) -> Iterator[tuple[str, npt.NDArray[np.float32]]]:
        """Name and float32 values of every weight tensor, as Hugging Face's Llama has them."""
        for name in self._tensors:
            if name != _ROPE_DIVISORS:
                yield (
                    _hugging_face_name(name),
                    _undo_permutation(name, self._dequantized(name), spec),
                )

    def __len__(self) -> int:
        """How many tensors `tensors` yields."""
        return len(self._tensors.keys() - {_ROPE_DIVISORS})

    def _dequantized(self, name: str) -> npt.NDArray[np.float32]:
        tensor = self._tensors[name]
        try:
            values = gguf.dequantize(tensor.data, tensor.tensor_type)
            return np.require(values, np.float32, "W")
        except (ValueError, NotImplementedError) as error:
            kind = tensor.tensor_type.name
            raise ModelError(
                f"{self.path}: tensor {name} ({kind}) cannot be read: {error}"
            ) from error


def _hugging_face_name(name: str) -> str:
    """The tensor's name in Hugging Face's Llama; a name without one stays as it is."""
    if name in _TOP_NAMES:
        return _TOP_NAMES[name]
    block, _, rest = name.partition(".")
    layer, _, rest = rest.partition(".")
    part, _, kind = rest.partition(".")
    if block != "blk" or part not in _LAYER_NAMES:
        return name
    return f"model.layers.{layer}.{_LAYER_NAMES[part]}.{kind}"


def _undo_permutation(
    name: str, values: npt.NDArray[np.float32], spec: DecoderSpec
) -> npt.NDArray[np.float32]:
    # llama.cpp rotates neighbouring cells, Hugging Face the two halves of a head; its converter
    # interleaves the halves of q and k (`LlamaModel.permute`), and this takes that back.
    if ".attn_q." in name:
        heads = spec.num_heads
    elif ".attn_k." in name:
        heads = spec.num_kv_heads
    else:
        return values
    pairs = values.reshape(heads, values.shape[0] // heads // 2, 2, *values.shape[1:])
    return pairs.swapaxes(1, 2).reshape(values.shape)
