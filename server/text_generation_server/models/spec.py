"""What a decoder is: the numbers that any executor needs to build it.

A model family is a translation into a `DecoderSpec` (`hf_config` for Hugging Face's config.json,
`gguf_spec` for GGUF metadata), not a file of layers.
"""

import math
from dataclasses import dataclass
from enum import StrEnum

from text_generation_server.models.errors import ModelError


class Activation(StrEnum):
    """The gate's activation in the MLP."""

    SILU = "silu"
    GELU = "gelu"
    GELU_TANH = "gelu_tanh"


@dataclass(frozen=True, slots=True)
class LinearScaling:
    """All positions divided by `factor` (position interpolation, arXiv:2306.15595)."""

    factor: float


@dataclass(frozen=True, slots=True)
class Llama3Scaling:
    """Llama 3.1's: long wavelengths divided by `factor`, short ones kept, smooth in between."""

    factor: float
    low_freq_factor: float
    high_freq_factor: float
    original_max_positions: int


@dataclass(frozen=True, slots=True)
class DivisorScaling:
    """Each frequency divided by its own number, as GGUF stores the scaling of Llama 3.1."""

    divisors: tuple[float, ...]
    """[head_dim / 2]"""


@dataclass(frozen=True, slots=True)
class RopeSpec:
    """Rotary position embedding over the whole head; cell i turns with cell i + head_dim / 2."""

    theta: float
    scaling: LinearScaling | Llama3Scaling | DivisorScaling | None = None

    def frequencies(self, head_dim: int) -> list[float]:
        """Radians per position, [head_dim / 2]."""
        base = [self.theta ** (-2 * i / head_dim) for i in range(head_dim // 2)]
        match self.scaling:
            case None:
                return base
            case LinearScaling(factor):
                return [frequency / factor for frequency in base]
            case Llama3Scaling():
                return [_scale_llama3(frequency, self.scaling) for frequency in base]
            case DivisorScaling(divisors):
                return [f / divisor for f, divisor in zip(base, divisors, strict=True)]


def _scale_llama3(frequency: float, scaling: Llama3Scaling) -> float:
    # Turns of this frequency within the original context decide: few turns are stretched by
    # `factor`, many are kept, and between the two thresholds the two are blended.
    turns = scaling.original_max_positions * frequency / (2 * math.pi)
    span = scaling.high_freq_factor - scaling.low_freq_factor
    keep = min(max((turns - scaling.low_freq_factor) / span, 0.0), 1.0)
    return keep * frequency + (1 - keep) * frequency / scaling.factor


@dataclass(frozen=True, slots=True)
class DecoderSpec:
    """A pre-norm decoder with RMS norms, rotary attention (grouped queries) and a gated MLP."""

    architecture: str
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
    rope: RopeSpec
    activation: Activation = Activation.SILU
    attention_bias: bool = False
    """Whether the q, k, v and o projections have a bias."""
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
        if self.head_dim % 2:
            raise ModelError(f"the model's head_dim is {self.head_dim}, must be even for its rope")
        if not (self.norm_eps >= 0 and self.rope.theta > 0):
            raise ModelError(
                f"the model's norm_eps is {self.norm_eps} and its rope theta {self.rope.theta}, "
                "must be at least 0 and above 0"
            )

    def tensor_shapes(self) -> dict[str, tuple[int, ...]]:
        """Name and shape of every weight tensor, named as in Hugging Face's Llama."""
        hidden, q_size = self.hidden_size, self.num_heads * self.head_dim
        kv_size = self.num_kv_heads * self.head_dim
        attention = {"q": (q_size, hidden), "k": (kv_size, hidden), "v": (kv_size, hidden)}
        attention["o"] = (hidden, q_size)
        mlp = {"gate": (self.intermediate_size, hidden), "up": (self.intermediate_size, hidden)}
        mlp["down"] = (hidden, self.intermediate_size)
        shapes: dict[str, tuple[int, ...]] = {
            "model.embed_tokens.weight": (self.vocab_size, hidden),
            "model.norm.weight": (hidden,),
        }
        if not self.tied_embeddings:
            shapes["lm_head.weight"] = (self.vocab_size, hidden)
        for layer in range(self.num_layers):
            prefix = f"model.layers.{layer}."
            shapes[f"{prefix}input_layernorm.weight"] = (hidden,)
            shapes[f"{prefix}post_attention_layernorm.weight"] = (hidden,)
            shapes |= _projections(f"{prefix}self_attn.", attention, self.attention_bias)
            shapes |= _projections(f"{prefix}mlp.", mlp, self.mlp_bias)
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


def _projections(
    prefix: str, matrices: dict[str, tuple[int, int]], has_bias: bool
) -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {}
    for name, shape in matrices.items():
        shapes[f"{prefix}{name}_proj.weight"] = shape
        if has_bias:
            shapes[f"{prefix}{name}_proj.bias"] = shape[:1]
    return shapes
