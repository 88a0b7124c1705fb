"""A decoder in plain PyTorch, built from its description. Knows nothing of pages.

Letters: T tokens of a step, R sampled rows, H query heads, K kv heads, D cells of a head.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from text_generation_server.models.spec import Activation, DecoderSpec

_ACTIVATIONS: dict[Activation, Callable[[Tensor], Tensor]] = {
    Activation.SILU: F.silu,
    Activation.GELU: F.gelu,
    Activation.GELU_TANH: partial(F.gelu, approximate="tanh"),
}


class Attention(Protocol):
    """Causal attention of a step's tokens over their sequences, stored keys and values included."""

    def __call__(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """q: [T, H, D]; k, v: [T, K, D], to be stored first. Returns [T, H, D]."""
        ...


@dataclass(frozen=True, slots=True)
class Linear:
    """x @ weight.T + bias."""

    weight: Tensor
    bias: Tensor | None

    def __call__(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight, self.bias)


@dataclass(frozen=True, slots=True)
class RmsNorm:
    """x / rms(x) * weight, the mean square taken in float32 (arXiv:1910.07467)."""

    weight: Tensor
    eps: float

    def __call__(self, x: Tensor) -> Tensor:
        wide = x.float()
        wide = wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + self.eps)
        return self.weight * wide.to(x.dtype)


@dataclass(frozen=True, slots=True)
class Layer:
    """One decoder layer's weights."""

    input_norm: RmsNorm
    qkv: Linear
    output: Linear
    mlp_norm: RmsNorm
    gate_up: Linear
    down: Linear


class Rotation:
    """The rotary embedding (arXiv:2104.09864) of a step's positions, in float32."""

    def __init__(self, positions: Tensor, frequencies: Tensor) -> None:
        """positions: [T]; frequencies: [D / 2] radians per position."""
        angles = positions.float()[:, None, None] * frequencies
        self._cos, self._sin = angles.cos(), angles.sin()  # [T, 1, D / 2]

    def __call__(self, x: Tensor) -> Tensor:
        """x: [T, any, D]; cell i and cell i + D / 2 are a pair."""
        first, second = x.float().chunk(2, dim=-1)
        rotated = (
            first * self._cos - second * self._sin,
            second * self._cos + first * self._sin,
        )
        return torch.cat(rotated, dim=-1).to(x.dtype)


class Decoder:
    """The model: token ids to hidden states to logits."""

    def __init__(self, spec: DecoderSpec, weights: dict[str, Tensor]) -> None:
        """weights: the tensors of `spec.tensor_shapes()`, all of one dtype; taken over (emptied),
        so that a matrix is not held twice when it is joined with its neighbours."""
        self.spec = spec
        self._embedding = weights.pop("model.embed_tokens.weight")
        self._norm = RmsNorm(weights.pop("model.norm.weight"), spec.norm_eps)
        self._head = self._embedding if spec.tied_embeddings else weights.pop("lm_head.weight")
        self._layers = [_layer(spec, weights, i) for i in range(spec.num_layers)]
        self._frequencies = torch.tensor(spec.rope.frequencies(spec.head_dim))
        self._activation = _ACTIVATIONS[spec.activation]

    @property
    def dtype(self) -> torch.dtype:
        """Type of weights, hidden states, keys and values."""
        return self._embedding.dtype

    def forward(self, tokens: Tensor, positions: Tensor, attention: Attention) -> Tensor:
        """tokens, positions: i64[T]. Returns hidden states [T, hidden_size]."""
        rotate = Rotation(positions, self._frequencies)
        hidden = F.embedding(tokens, self._embedding)
        for i, layer in enumerate(self._layers):
            q, k, v = self._heads(layer.qkv(layer.input_norm(hidden)), rotate)
            hidden = hidden + layer.output(attention(i, q, k, v).flatten(1))
            gate, up = layer.gate_up(layer.mlp_norm(hidden)).chunk(2, dim=-1)
            hidden = hidden + layer.down(self._activation(gate) * up)
        return hidden

    def logits(self, hidden: Tensor) -> Tensor:
        """hidden: [R, hidden_size]. Returns f32[R, vocab_size]."""
        return F.linear(self._norm(hidden), self._head).float()

    def _heads(self, qkv: Tensor, rotate: Rotation) -> tuple[Tensor, Tensor, Tensor]:
        queries, shared = self.spec.num_heads, self.spec.num_kv_heads
        heads = qkv.view(len(qkv), queries + 2 * shared, self.spec.head_dim)
        rotated = rotate(heads[:, : queries + shared])
        return rotated[:, :queries], rotated[:, queries:], heads[:, queries + shared :]


def _layer(spec: DecoderSpec, weights: dict[str, Tensor], index: int) -> Layer:
    prefix = f"model.layers.{index}."

    def norm(name: str) -> RmsNorm:
        return RmsNorm(weights.pop(f"{prefix}{name}.weight"), spec.norm_eps)

    def joined(block: str, names: str, has_bias: bool) -> Linear:
        keys = [f"{prefix}{block}.{name}_proj" for name in names.split()]
        weight = torch.cat([weights.pop(f"{key}.weight") for key in keys])
        bias = torch.cat([weights.pop(f"{key}.bias") for key in keys]) if has_bias else None
        return Linear(weight, bias)

    return Layer(
        input_norm=norm("input_layernorm"),
        qkv=joined("self_attn", "q k v", spec.attention_bias),
        output=joined("self_attn", "o", spec.attention_bias),
        mlp_norm=norm("post_attention_layernorm"),
        gate_up=joined("mlp", "gate up", spec.mlp_bias),
        down=joined("mlp", "down", spec.mlp_bias),
    )
