"""Rotary position embeddings (arXiv:2104.09864) and the ways to stretch them.

A `RopeSpec` says what a model asks for; `resolve` turns it into the numbers an executor needs.
Two kinds depend on how long sequences get. They take the longest that the server will accept, not
the one at hand, so that a token's logits never depend on what follows it.
"""

import math
from dataclasses import dataclass
from typing import Protocol

from text_generation_server.models.errors import ModelError


@dataclass(frozen=True, slots=True)
class ResolvedRope:
    """The numbers of one rotary embedding."""

    frequencies: list[float]
    """Radians per position, [rotary_dim / 2]."""
    attention_factor: float = 1.0
    """Multiplies the cosines and sines of queries and keys, so scores by its square."""


class Scaling(Protocol):
    """A way to make the embedding of short training sequences fit for longer ones."""

    def resolve(self, theta: float, rotary_dim: int, total_tokens: int) -> ResolvedRope:
        """See `RopeSpec`, whose numbers these are."""
        ...


@dataclass(frozen=True, slots=True)
class LinearScaling:
    """All positions divided by `factor` (position interpolation, arXiv:2306.15595)."""

    factor: float

    def __post_init__(self) -> None:
        _check_range(self, "factor")

    def resolve(self, theta: float, rotary_dim: int, total_tokens: int) -> ResolvedRope:
        """See `Scaling`."""
        return ResolvedRope([f / self.factor for f in _frequencies(theta, rotary_dim)])


@dataclass(frozen=True, slots=True)
class DynamicScaling:
    """A larger theta for longer sequences ("dynamic NTK"): `factor` says how much larger."""

    factor: float
    original_max_positions: int
    """Up to so many tokens nothing is scaled."""

    def __post_init__(self) -> None:
        _check_range(self, "factor", "original_max_positions")

    def resolve(self, theta: float, rotary_dim: int, total_tokens: int) -> ResolvedRope:
        """See `Scaling`."""
        ratio = max(total_tokens, self.original_max_positions) / self.original_max_positions
        stretch = self.factor * ratio - (self.factor - 1)
        # A head of one pair has one frequency, 1, whatever theta is.
        exponent = rotary_dim / (rotary_dim - 2) if rotary_dim > 2 else 0.0
        return ResolvedRope(_frequencies(theta * stretch**exponent, rotary_dim))


@dataclass(frozen=True, slots=True)
class Llama3Scaling:
    """Llama 3.1's: long wavelengths divided by `factor`, short ones kept, smooth in between."""

    factor: float
    low_freq_factor: float
    high_freq_factor: float
    original_max_positions: int

    def __post_init__(self) -> None:
        _check_range(self, "factor", "original_max_positions")
        if not self.low_freq_factor < self.high_freq_factor:
            raise ModelError(
                f"the rope's low_freq_factor {self.low_freq_factor} must be below its "
                f"high_freq_factor {self.high_freq_factor}"
            )

    def resolve(self, theta: float, rotary_dim: int, total_tokens: int) -> ResolvedRope:
        """See `Scaling`."""
        return ResolvedRope([self._scale(f) for f in _frequencies(theta, rotary_dim)])

    def _scale(self, frequency: float) -> float:
        # Turns of this frequency within the original context decide: few turns are stretched by
        # `factor`, many are kept, and between the two thresholds the two are blended.
        turns = self.original_max_positions * frequency / (2 * math.pi)
        span = self.high_freq_factor - self.low_freq_factor
        return _blend(frequency, self.factor, (turns - self.low_freq_factor) / span)


@dataclass(frozen=True, slots=True)
class YarnScaling:
    """As Llama 3.1's, but blended over the pairs' indices, and scores sharpened
    (arXiv:2309.00071)."""

    factor: float
    original_max_positions: int
    attention_factor: float
    beta_fast: float = 32.0
    """Pairs that turn more often than this within the original context are kept."""
    beta_slow: float = 1.0
    """Pairs that turn less often are divided by `factor`."""
    whole_pairs: bool = True
    """Whether the blend begins and ends at whole indices."""

    def __post_init__(self) -> None:
        _check_range(
            self, "factor", "original_max_positions", "attention_factor", "beta_fast", "beta_slow"
        )

    def resolve(self, theta: float, rotary_dim: int, total_tokens: int) -> ResolvedRope:
        """See `Scaling`."""
        first = self._pair_of(self.beta_fast, theta, rotary_dim)
        last = self._pair_of(self.beta_slow, theta, rotary_dim)
        if self.whole_pairs:
            first, last = math.floor(first), math.ceil(last)
        first, last = max(first, 0), min(last, rotary_dim - 1)
        span = last - first if last != first else 0.001
        frequencies = [
            _blend(frequency, self.factor, 1 - (pair - first) / span)
            for pair, frequency in enumerate(_frequencies(theta, rotary_dim))
        ]
        return ResolvedRope(frequencies, self.attention_factor)

    def _pair_of(self, turns: float, theta: float, rotary_dim: int) -> float:
        """Index, not whole, of the pair that turns so often within the original context."""
        wavelength = self.original_max_positions / turns
        return rotary_dim * math.log(wavelength / (2 * math.pi)) / (2 * math.log(theta))


@dataclass(frozen=True, slots=True)
class LongScaling:
    """Each frequency divided by a number found by search (LongRoPE, arXiv:2402.13753), one set of
    numbers for servers of short sequences and one for those of long ones."""

    short_divisors: tuple[float, ...]
    """[rotary_dim / 2], as long as the total token limit is at most `original_max_positions`."""
    long_divisors: tuple[float, ...]
    """[rotary_dim / 2], above it."""
    original_max_positions: int
    attention_factor: float

    def __post_init__(self) -> None:
        _check_range(self, "original_max_positions", "attention_factor")

    def resolve(self, theta: float, rotary_dim: int, total_tokens: int) -> ResolvedRope:
        """See `Scaling`."""
        is_long = total_tokens > self.original_max_positions
        divisors = self.long_divisors if is_long else self.short_divisors
        return ResolvedRope(_divided(theta, rotary_dim, divisors), self.attention_factor)


@dataclass(frozen=True, slots=True)
class DivisorScaling:
    """Each frequency divided by its own number, as GGUF stores the scaling of Llama 3.1."""

    divisors: tuple[float, ...]
    """[rotary_dim / 2]"""

    def resolve(self, theta: float, rotary_dim: int, total_tokens: int) -> ResolvedRope:
        """See `Scaling`."""
        return ResolvedRope(_divided(theta, rotary_dim, self.divisors))


@dataclass(frozen=True, slots=True)
class RopeSpec:
    """A rotary position embedding over the first `rotary_dim` cells of a head; cell i turns with
    cell i + rotary_dim / 2."""

    theta: float
    rotary_dim: int
    scaling: Scaling | None = None

    def __post_init__(self) -> None:
        """Raises ModelError for numbers that describe no rotation."""
        if not self.theta > 1:
            raise ModelError(f"the rope's theta is {self.theta}, must be above 1")
        if self.rotary_dim < 2 or self.rotary_dim % 2:
            raise ModelError(
                f"the rope turns {self.rotary_dim} cells of a head, must be an even number"
            )

    def resolve(self, total_tokens: int) -> ResolvedRope:
        """total_tokens: the longest sequence that will be served. Raises ModelError when the
        scaling was made for heads of another size."""
        if self.scaling is None:
            return ResolvedRope(_frequencies(self.theta, self.rotary_dim))
        return self.scaling.resolve(self.theta, self.rotary_dim, total_tokens)

    def stretched(self, max_positions: int) -> int:
        """Longest sequence of a model whose description says `max_positions`: where it gives the
        length before scaling, or may, the scaling says how much longer."""
        match self.scaling:
            case DynamicScaling(factor, original) | YarnScaling(factor, original):
                return max(max_positions, int(factor * original))
            case _:
                return max_positions


def yarn_attention_factor(factor: float, strength: float = 1.0) -> float:
    """YaRN's for a context stretched by `factor`."""
    return 0.1 * strength * math.log(factor) + 1.0 if factor > 1 else 1.0


def long_attention_factor(factor: float, original_max_positions: int) -> float:
    """LongRoPE's for a context stretched by `factor`."""
    if factor <= 1 or original_max_positions < 2:
        return 1.0
    return math.sqrt(1 + math.log(factor) / math.log(original_max_positions))


# Far beyond any real model, and near enough for the arithmetic above to stay finite.
_RANGES = {
    "factor": (1e-6, 1e6),
    "original_max_positions": (1, 1 << 30),
    "attention_factor": (1e-6, 1e6),
    "beta_fast": (1e-6, 1e6),
    "beta_slow": (1e-6, 1e6),
    "divisor": (1e-30, 1e30),
}


def _check_range(scaling: Scaling, *names: str) -> None:
    for name in names:
        _check_number(name, getattr(scaling, name))


def _check_number(name: str, value: float) -> None:
    low, high = _RANGES[name]
    if not low <= value <= high:
        raise ModelError(f"the rope's {name} is {value}, must be {low:g} to {high:g}")


def _frequencies(theta: float, rotary_dim: int) -> list[float]:
    return [theta ** (-2 * i / rotary_dim) for i in range(rotary_dim // 2)]


def _divided(theta: float, rotary_dim: int, divisors: tuple[float, ...]) -> list[float]:
    frequencies = _frequencies(theta, rotary_dim)
    if len(divisors) != len(frequencies):
        raise ModelError(
            f"the rope has {len(divisors)} divisors, must be {len(frequencies)}, "
            f"half of the {rotary_dim} cells it turns"
        )
    for divisor in divisors:
        _check_number("divisor", divisor)
    return [f / divisor for f, divisor in zip(frequencies, divisors, strict=True)]


def _blend(frequency: float, factor: float, kept: float) -> float:
    """kept: share of the unscaled frequency, taken as 0 below 0 and as 1 above 1."""
    kept = min(max(kept, 0.0), 1.0)
    return kept * frequency + (1 - kept) * frequency / factor
