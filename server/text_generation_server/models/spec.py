"""What a decoder is: the numbers that any executor needs to build it.

A model family is a translation into a `DecoderSpec` (`hf_config` for Hugging Face's config.json,
`gguf_spec` for GGUF metadata), not a file of layers. The translation settles every default.
"""

import math
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any, NamedTuple, TypeVar

from text_generation_server.models.errors import ModelError
from text_generation_server.models.rope import RopeSpec

_T = TypeVar("_T")


class Activation(StrEnum):
    """The gate's activation in the MLP."""

    SILU = "silu"
    GELU = "gelu"
    GELU_TANH = "gelu_tanh"


class QkNorm(StrEnum):
    """What of the queries and keys an RMS norm spans, before the rope."""

    NONE = "none"
    HEAD = "head"
    """Each head by itself, all with one weight [head_dim]."""
    PROJECTION = "projection"
    """All heads of a token together: [num_heads * head_dim], [num_kv_heads * head_dim]."""


class LayerNorms(NamedTuple):
    """Names of a layer's four possible norms in Hugging Face's models; None where it has none."""

    pre_attention: str | None
    post_attention: str | None
    pre_mlp: str | None
    post_mlp: str | None


@dataclass(frozen=True, slots=True)
class DecoderSpec:
    """A decoder with RMS norms, causal attention (grouped queries) and a gated MLP.

    With the defaults it is Llama. A layer computes, with r = `residual_multiplier`:
    x += r * post_attention(attention(pre_attention(x))); x += r * post_mlp(mlp(pre_mlp(x))).
    """

    architecture: str
    """The name of Hugging Face's class."""
    vocab_size: int
    hidden_size: int
    intermediate_size: int
    num_layers: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    max_positions: int
    """Longest sequence the model was made for, in tokens."""
    norm_eps: float
    attention_scale: float
    """Multiplies the scores of queries and keys."""
    layer_windows: tuple[int | None, ...]
    """[num_layers] Tokens that a token attends to, itself included; None: all before it."""
    ropes: tuple[RopeSpec, ...]
    layer_ropes: tuple[int | None, ...]
    """[num_layers] Index into `ropes`; None: queries and keys are not rotated."""
    activation: Activation = Activation.SILU
    pre_norms: bool = True
    """Whether attention and MLP read a normalised input."""
    post_norms: bool = False
    """Whether what attention and MLP add is normalised."""
    norm_offset: float = 0.0
    """Added to the weight of every norm."""
    qk_norm: QkNorm = QkNorm.NONE
    attention_softcap: float | None = None
    """A score s becomes softcap * tanh(s / softcap); None: it stays."""
    logit_softcap: float | None = None
    """The same for logits, after their multiplier."""
    embedding_multiplier: float = 1.0
    residual_multiplier: float = 1.0
    logit_multiplier: float = 1.0
    qkv_bias: bool = False
    output_bias: bool = False
    """Of the projection after attention."""
    mlp_bias: bool = False
    tied_embeddings: bool = False
    """Whether the head is the embedding matrix."""

    def __post_init__(self) -> None:
        """Raises ModelError for numbers that describe no decoder."""
        for name, limit in _LIMITS.items():
            size = getattr(self, name)
            if not 1 <= size <= limit:
                raise ModelError(f"the model's {name} is {size}, must be 1 to {limit}")
        if self.num_heads % self.num_kv_heads:
            raise ModelError(
                f"the model's {self.num_heads} heads are no multiple of its "
                f"{self.num_kv_heads} kv heads"
            )
        if not self.norm_eps >= 0:
            raise ModelError(f"the model's norm_eps is {self.norm_eps}, must be at least 0")
        for name in _POSITIVE:
            value = getattr(self, name)
            if value is not None and not (value > 0 and math.isfinite(value)):
                raise ModelError(f"the model's {name} is {value}, must be above 0")
        self._check_layers()

    def _check_layers(self) -> None:
        if not len(self.layer_windows) == len(self.layer_ropes) == self.num_layers:
            raise ModelError(
                f"the model describes the attention of {len(self.layer_windows)} layers and the "
                f"rope of {len(self.layer_ropes)}, but has {self.num_layers}"
            )
        for window in self.layer_windows:
            if window is not None and window < 1:
                raise ModelError(f"the model's attention window is {window}, must be at least 1")
        for rope in self.ropes:
            if rope.rotary_dim > self.head_dim:
                raise ModelError(
                    f"the model's rope turns {rope.rotary_dim} cells of a head, which has "
                    f"{self.head_dim}"
                )
            rope.resolve(self.max_positions)

    def resolved(self, total_tokens: int) -> dict[str, Any]:
        """This description as an object for JSON, its ropes as numbers (`ResolvedRope`).

        total_tokens: the longest sequence that will be served.
        """
        ropes = [asdict(rope.resolve(total_tokens)) for rope in self.ropes]
        return asdict(self) | {"ropes": ropes}

    def layer_norms(self) -> LayerNorms:
        """Where a layer's norms stand, and what they are called."""
        pre, post = self.pre_norms, self.post_norms
        # Llama's name for the norm before the MLP speaks of the attention before it. Families that
        # do have a norm of the attention's output give it that name, and the MLP's another.
        pre_mlp = "pre_feedforward_layernorm" if post else "post_attention_layernorm"
        return LayerNorms(
            pre_attention="input_layernorm" if pre else None,
            post_attention="post_attention_layernorm" if post else None,
            pre_mlp=pre_mlp if pre else None,
            post_mlp="post_feedforward_layernorm" if post else None,
        )

    def tensor_shapes(self) -> dict[str, tuple[int, ...]]:
        """Name and shape of every weight tensor, named as in Hugging Face's models. Projections
        that a family stores as one tensor are listed one by one (see `TensorPlace`)."""
        shapes: dict[str, tuple[int, ...]] = {
            "model.embed_tokens.weight": (self.vocab_size, self.hidden_size),
            "model.norm.weight": (self.hidden_size,),
        }
        if not self.tied_embeddings:
            shapes["lm_head.weight"] = (self.vocab_size, self.hidden_size)
        layer = self._layer_shapes()
        for index in range(self.num_layers):
            shapes |= {f"model.layers.{index}.{name}": shape for name, shape in layer.items()}
        return shapes

    def _layer_shapes(self) -> dict[str, tuple[int, ...]]:
        hidden, inner = self.hidden_size, self.intermediate_size
        queries, shared = self.num_heads * self.head_dim, self.num_kv_heads * self.head_dim
        qkv = {"q": (queries, hidden), "k": (shared, hidden), "v": (shared, hidden)}
        mlp = {"gate": (inner, hidden), "up": (inner, hidden), "down": (hidden, inner)}
        shapes = _projections("self_attn.", qkv, self.qkv_bias)
        shapes |= _projections("self_attn.", {"o": (hidden, queries)}, self.output_bias)
        shapes |= _projections("mlp.", mlp, self.mlp_bias)
        for name in self.layer_norms():
            if name is not None:
                shapes[f"{name}.weight"] = (hidden,)
        if self.qk_norm is not QkNorm.NONE:
            per_head = self.qk_norm is QkNorm.HEAD
            shapes["self_attn.q_norm.weight"] = (self.head_dim if per_head else queries,)
            shapes["self_attn.k_norm.weight"] = (self.head_dim if per_head else shared,)
        return shapes


@dataclass(frozen=True, slots=True)
class TensorPlace:
    """Where a stored tensor, or some of its rows, belongs in a decoder."""

    name: str
    """The decoder's tensor, one of `DecoderSpec.tensor_shapes`."""
    start: int = 0
    """First of the stored rows that belong there."""
    stop: int | None = None
    """Row after the last of them; None means all."""
    interleaved_heads: int = 0
    """Not 0: the rows are this many heads whose two halves are interleaved (a row of the first
    half, one of the second), to be put back one half after the other."""


def qkv_places(prefix: str, kind: str, spec: DecoderSpec) -> tuple[TensorPlace, ...]:
    """Of a tensor that holds the rows of the q, k and v projections. prefix: the layer's name, with
    a dot; kind: "weight" or "bias"."""
    queries, shared = spec.num_heads * spec.head_dim, spec.num_kv_heads * spec.head_dim
    return _split(f"{prefix}self_attn.", kind, {"q": queries, "k": shared, "v": shared})


def gate_up_places(prefix: str, kind: str, spec: DecoderSpec) -> tuple[TensorPlace, ...]:
    """Of a tensor that holds the rows of the gate and up projections; see `qkv_places`."""
    inner = spec.intermediate_size
    return _split(f"{prefix}mlp.", kind, {"gate": inner, "up": inner})


def _split(prefix: str, kind: str, sizes: dict[str, int]) -> tuple[TensorPlace, ...]:
    places, start = [], 0
    for name, size in sizes.items():
        places.append(TensorPlace(f"{prefix}{name}_proj.{kind}", start, start + size))
        start += size
    # The last one takes all that is left, so that a tensor of another size is noticed.
    places[-1] = TensorPlace(places[-1].name, places[-1].start)
    return tuple(places)


def every_layer(value: _T, num_layers: int) -> tuple[_T, ...]:
    """A value for each layer. num_layers may be a damaged file's: what lies beyond the most that a
    decoder may have is left out."""
    return (value,) * min(num_layers, _LIMITS["num_layers"])


# Far above any real model: what lies beyond is a damaged file, and not worth the memory.
_LIMITS = {
    "vocab_size": 1 << 24,
    "hidden_size": 1 << 24,
    "intermediate_size": 1 << 24,
    "num_layers": 1 << 12,
    "num_heads": 1 << 16,
    "num_kv_heads": 1 << 16,
    "head_dim": 1 << 16,
    "max_positions": 1 << 30,
}
_POSITIVE = (
    "attention_scale",
    "attention_softcap",
    "logit_softcap",
    "embedding_multiplier",
    "residual_multiplier",
    "logit_multiplier",
)


def _projections(
    prefix: str, matrices: dict[str, tuple[int, int]], has_bias: bool
) -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {}
    for name, shape in matrices.items():
        shapes[f"{prefix}{name}_proj.weight"] = shape
        if has_bias:
            shapes[f"{prefix}{name}_proj.bias"] = shape[:1]
    return shapes
