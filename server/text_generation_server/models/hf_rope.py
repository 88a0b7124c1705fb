"""Translates the rotary embedding of a Hugging Face config.json into a `RopeSpec`.

Follows transformers' `modeling_rope_utils`. Both forms are read: transformers 5
(`rope_parameters`) and before (`rope_theta` beside `rope_scaling`).
"""

import math
from collections.abc import Callable

from text_generation_server.models.errors import ModelError
from text_generation_server.models.json_values import JsonValues
from text_generation_server.models.rope import (
    DynamicScaling,
    LinearScaling,
    Llama3Scaling,
    LongScaling,
    RopeSpec,
    Scaling,
    YarnScaling,
)

_MAX_FACTOR = 1e6


def rope_from_config(config: JsonValues, head_dim: int, rope: JsonValues | None = None) -> RopeSpec:
    """rope: the parameters of this embedding where the config has several. Raises ModelError."""
    if rope is None:
        rope = config.section("rope_scaling") or config.section("rope_parameters")
    theta = rope.number("rope_theta", config.number("rope_theta", 10_000.0))
    share = rope.number("partial_rotary_factor", config.number("partial_rotary_factor", 1.0))
    return RopeSpec(theta, int(head_dim * share), _scaling(config, rope))


def _scaling(config: JsonValues, rope: JsonValues) -> Scaling | None:
    kind = rope.text("rope_type", rope.text("type", "default"))
    if kind == "default":
        return None
    # Phi-3's first configs say "su" or "yarn" and mean LongRoPE.
    if kind == "su" or (kind == "yarn" and "long_factor" in rope):
        kind = "longrope"
    if kind not in _SCALINGS:
        raise ModelError(
            f"the rope type {kind!r} is not supported, only default, {', '.join(_SCALINGS)}"
        )
    return _SCALINGS[kind](config, rope)


def _linear(config: JsonValues, rope: JsonValues) -> Scaling:
    return LinearScaling(_factor(rope))


def _dynamic(config: JsonValues, rope: JsonValues) -> Scaling:
    return DynamicScaling(_factor(rope), config.integer("max_position_embeddings"))


def _llama3(config: JsonValues, rope: JsonValues) -> Scaling:
    low, high = rope.number("low_freq_factor"), rope.number("high_freq_factor")
    if not low < high:
        raise ModelError(
            f"config.json: low_freq_factor {low} must be below high_freq_factor {high}"
        )
    return Llama3Scaling(_factor(rope), low, high, _original_positions(config, rope))


def _yarn(config: JsonValues, rope: JsonValues) -> Scaling:
    original = _original_positions(config, rope)
    factor = _factor(rope, config.integer("max_position_embeddings") / original)
    strength, strength_all = rope.number("mscale", 0.0), rope.number("mscale_all_dim", 0.0)
    if strength and strength_all:
        attention = _yarn_attention(factor, strength) / _yarn_attention(factor, strength_all)
    else:
        attention = _yarn_attention(factor, 1.0)
    fast, slow = rope.number("beta_fast", 32.0) or 32.0, rope.number("beta_slow", 1.0) or 1.0
    if fast < 0 or slow < 0:
        raise ModelError(f"config.json: beta_fast {fast} and beta_slow {slow} must be above 0")
    attention = rope.number("attention_factor", attention)
    return YarnScaling(factor, original, attention, fast, slow, rope.flag("truncate", True))


def _yarn_attention(factor: float, strength: float) -> float:
    return 0.1 * strength * math.log(factor) + 1.0 if factor > 1 else 1.0


def _longrope(config: JsonValues, rope: JsonValues) -> Scaling:
    original = _original_positions(config, rope)
    factor = _factor(rope, config.integer("max_position_embeddings") / original)
    attention = long_attention_factor(factor, original)
    return LongScaling(
        rope.numbers_above_zero("short_factor"),
        rope.numbers_above_zero("long_factor"),
        original,
        rope.number("attention_factor", attention),
    )


def long_attention_factor(factor: float, original_max_positions: int) -> float:
    """LongRoPE's for a context stretched by `factor`."""
    if factor <= 1.0 or original_max_positions < 2:
        return 1.0
    return math.sqrt(1 + math.log(factor) / math.log(original_max_positions))


def _original_positions(config: JsonValues, rope: JsonValues) -> int:
    # The config's own key is stronger than the rope's.
    key = "original_max_position_embeddings"
    positions = config.integer(key, rope.integer(key, config.integer("max_position_embeddings")))
    if positions < 1:
        raise ModelError(f"config.json: {key} is {positions}, must be at least 1")
    return positions


def _factor(rope: JsonValues, default: float | None = None) -> float:
    factor = rope.number("factor", default)
    if not 0 < factor <= _MAX_FACTOR:
        raise ModelError(
            f"config.json: the rope's factor is {factor}, must be above 0, at most {_MAX_FACTOR:g}"
        )
    return factor


_SCALINGS: dict[str, Callable[[JsonValues, JsonValues], Scaling]] = {
    "linear": _linear,
    "dynamic": _dynamic,
    "llama3": _llama3,
    "yarn": _yarn,
    "longrope": _longrope,
}
