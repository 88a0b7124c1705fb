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

from text_generation_server.models.rope import ResolvedRope
from text_generation_server.models.spec import Activation, DecoderSpec, QkNorm

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
    """x / rms(x) * (weight + offset), in float32 (arXiv:1910.07467)."""

    weight: Tensor
    offset: float
    eps: float

    def __call__(self, x: Tensor) -> Tensor:
        """x: [T, n * len(weight)], normalised in groups as long as the weight."""
        size = len(self.weight)
        wide = x.float().view(len(x), x.shape[1] // size, size)
        wide = wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + self.eps)
        return (wide * (self.weight.float() + self.offset)).to(x.dtype).view(x.shape)


def _unchanged(x: Tensor) -> Tensor:
    return x


Norm = Callable[[Tensor], Tensor]


@dataclass(frozen=True, slots=True)
class Layer:
    """One decoder layer's weights; a norm that the family has not changes nothing."""

    pre_attention: Norm
    qkv: Linear
    q_norm: Norm
    k_norm: Norm
    output: Linear
    post_attention: Norm
    pre_mlp: Norm
    gate_up: Linear
    down: Linear
    post_mlp: Norm


class Rotation:
    """The rotary embedding (arXiv:2104.09864) of a step's positions, in float32."""

    def __init__(self, positions: Tensor, rope: ResolvedRope) -> None:
        """positions: [T]."""
        angles = positions.float()[:, None, None] * torch.tensor(rope.frequencies)
        self._cos = angles.cos() * rope.attention_factor  # [T, 1, rotary_dim / 2]
        self._sin = angles.sin() * rope.attention_factor

    def __call__(self, x: Tensor) -> Tensor:
        """x: [T, any, D]; cell i and cell i + rotary_dim / 2 are a pair, the rest stays."""
        half = self._cos.shape[-1]
        first, second, rest = torch.split(x.float(), [half, half, x.shape[-1] - 2 * half], dim=-1)
        rotated = (
            first * self._cos - second * self._sin,
            second * self._cos + first * self._sin,
            rest,
        )
        return torch.cat(rotated, dim=-1).to(x.dtype)


class Decoder:
    """The model: token ids to hidden states to logits."""

    def __init__(
        self, spec: DecoderSpec, weights: dict[str, Tensor], total_tokens: int | None = None
    ) -> None:
        """weights: the tensors of `spec.tensor_shapes()`, all of one dtype; taken over (emptied),
        so that a matrix is not held twice when it is joined with its neighbours.
        total_tokens: the longest sequence that will be served; None: the model's longest."""
        self.spec = spec
        self.total_tokens = spec.max_positions if total_tokens is None else total_tokens
        self._embedding = weights.pop("model.embed_tokens.weight")
        self._norm = _norm(spec, weights, "model.norm.weight")
        self._head = self._embedding if spec.tied_embeddings else weights.pop("lm_head.weight")
        self._layers = [_layer(spec, weights, i) for i in range(spec.num_layers)]
        self._ropes = [rope.resolve(self.total_tokens) for rope in spec.ropes]
        self._activation = _ACTIVATIONS[spec.activation]

    @property
    def dtype(self) -> torch.dtype:
        """Type of weights, hidden states, keys and values."""
        return self._embedding.dtype

    def forward(self, tokens: Tensor, positions: Tensor, attention: Attention) -> Tensor:
        """tokens, positions: i64[T]. Returns hidden states [T, hidden_size]."""
        spec = self.spec
        rotations = [Rotation(positions, rope) for rope in self._ropes]
        hidden = F.embedding(tokens, self._embedding) * spec.embedding_multiplier
        for i, (layer, rope) in enumerate(zip(self._layers, spec.layer_ropes, strict=True)):
            rotate = _unchanged if rope is None else rotations[rope]
            q, k, v = self._heads(layer, layer.pre_attention(hidden), rotate)
            attended = layer.output(attention(i, q, k, v).flatten(1))
            hidden = hidden + layer.post_attention(attended) * spec.residual_multiplier
            gate, up = layer.gate_up(layer.pre_mlp(hidden)).chunk(2, dim=-1)
            added = layer.down(self._activation(gate) * up)
            hidden = hidden + layer.post_mlp(added) * spec.residual_multiplier
        return hidden

    def logits(self, hidden: Tensor) -> Tensor:
        """hidden: [R, hidden_size]. Returns f32[R, vocab_size]."""
        logits = F.linear(self._norm(hidden), self._head).float() * self.spec.logit_multiplier
        return soft_capped(logits, self.spec.logit_softcap)

    def _heads(
        self, layer: Layer, x: Tensor, rotate: Callable[[Tensor], Tensor]
    ) -> tuple[Tensor, Tensor, Tensor]:
        queries, shared, size = self.spec.num_heads, self.spec.num_kv_heads, self.spec.head_dim
        sizes = [queries * size, shared * size, shared * size]
        q, k, v = torch.split(layer.qkv(x), sizes, dim=-1)
        q = layer.q_norm(q).reshape(len(x), queries, size)
        k = layer.k_norm(k).reshape(len(x), shared, size)
        return rotate(q), rotate(k), v.reshape(len(x), shared, size)


def soft_capped(x: Tensor, cap: float | None) -> Tensor:
    """cap * tanh(x / cap): nearly x where it is small against the cap, never beyond it."""
    return x if cap is None else cap * torch.tanh(x / cap)


def _norm(spec: DecoderSpec, weights: dict[str, Tensor], name: str) -> RmsNorm:
    return RmsNorm(weights.pop(name), spec.norm_offset, spec.norm_eps)


def _layer(spec: DecoderSpec, weights: dict[str, Tensor], index: int) -> Layer:
    prefix = f"model.layers.{index}."

    def norm(name: str | None) -> Norm:
        return _norm(spec, weights, f"{prefix}{name}.weight") if name else _unchanged

    def joined(block: str, names: str, has_bias: bool) -> Linear:
        keys = [f"{prefix}{block}.{name}_proj" for name in names.split()]
        weight = torch.cat([weights.pop(f"{key}.weight") for key in keys])
        bias = torch.cat([weights.pop(f"{key}.bias") for key in keys]) if has_bias else None
        return Linear(weight, bias)

    norms, has_qk_norm = spec.layer_norms(), spec.qk_norm is not QkNorm.NONE
    return Layer(
        pre_attention=norm(norms.pre_attention),
        qkv=joined("self_attn", "q k v", spec.qkv_bias),
        q_norm=norm("self_attn.q_norm" if has_qk_norm else None),
        k_norm=norm("self_attn.k_norm" if has_qk_norm else None),
        output=joined("self_attn", "o", spec.output_bias),
        post_attention=norm(norms.post_attention),
        pre_mlp=norm(norms.pre_mlp),
        gate_up=joined("mlp", "gate up", spec.mlp_bias),
        down=joined("mlp", "down", spec.mlp_bias),
        post_mlp=norm(norms.post_mlp),
    )
