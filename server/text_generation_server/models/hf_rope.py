"""Translates the rotary embedding of a Hugging Face config.json into a `RopeSpec`.

Follows transformers' `modeling_rope_utils`. Both forms are read: transformers 5
(`rope_parameters`) and before (`rope_theta` beside `rope_scaling`).
"""

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
    long_attention_factor,
    yarn_attention_factor,
)


def rope_from_config(config: JsonValues, head_dim: int, rope: JsonValues | None = None) -> RopeSpec:
    """rope: the parameters of this embedding where the config has several. Raises ModelError."""
    if rope is None:
        rope = config.section("rope_scaling") or config.section("rope_parameters")
    theta = rope.number("rope_theta", config.number("rope_theta", 10_000.0))
    share = rope.number("partial_rotary_factor", config.number("partial_rotary_factor", 1.0))
    if not 0 < share <= 1:
        raise ModelError(
            f"config.json: partial_rotary_factor is {share}, must be above 0, at most 1"
        )
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
    return LinearScaling(rope.number("factor"))


def _dynamic(config: JsonValues, rope: JsonValues) -> Scaling:
    return DynamicScaling(rope.number("factor"), config.integer("max_position_embeddings"))


def _llama3(config: JsonValues, rope: JsonValues) -> Scaling:
    low, high = rope.number("low_freq_factor"), rope.number("high_freq_factor")
    return Llama3Scaling(rope.number("factor"), low, high, _original_positions(config, rope))


def _yarn(config: JsonValues, rope: JsonValues) -> Scaling:
    original, factor = _original_positions(config, rope), _factor(config, rope)
    attention = yarn_attention_factor(factor)
    strength, strength_all = rope.number("mscale", 0.0), rope.number("mscale_all_dim", 0.0)
    if strength > 0 and strength_all > 0:
        attention = yarn_attention_factor(factor, strength)
        attention /= yarn_attention_factor(factor, strength_all)
    return YarnScaling(
        factor,
        original,
        rope.number("attention_factor", attention),
        rope.number("beta_fast", 32.0) or 32.0,
        rope.number("beta_slow", 1.0) or 1.0,
        rope.flag("truncate", True),
    )


def _longrope(config: JsonValues, rope: JsonValues) -> Scaling:
    original, factor = _original_positions(config, rope), _factor(config, rope)
    return LongScaling(
        rope.numbers("short_factor"),
        rope.numbers("long_factor"),
        original,
        rope.number("attention_factor", long_attention_factor(factor, original)),
    )


def _factor(config: JsonValues, rope: JsonValues) -> float:
    """The rope's, or what the config's two lengths say."""
    positions = config.integer("max_position_embeddings")
    return rope.number("factor", positions / max(_original_positions(config, rope), 1))


def _original_positions(config: JsonValues, rope: JsonValues) -> int:
    # The config's own key is stronger than the rope's.
    key = "original_max_position_embeddings"
    return config.integer(key, rope.integer(key, config.integer("max_position_embeddings")))


_SCALINGS: dict[str, Callable[[JsonValues, JsonValues], Scaling]] = {
    "linear": _linear,
    "dynamic": _dynamic,
    "llama3": _llama3,
    "yarn": _yarn,
    "longrope": _longrope,
}
