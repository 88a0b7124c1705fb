"""Rope specs resolve to the frequencies that transformers computes."""

from typing import Any

import pytest
import torch
from text_generation_server.models.errors import ModelError
from text_generation_server.models.hf_rope import rope_from_config
from text_generation_server.models.json_values import JsonValues
from text_generation_server.models.rope import DivisorScaling, RopeSpec
from transformers import LlamaConfig
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

HEAD_DIM = 64
MAX_POSITIONS = 4096
DIVISORS = {
    "short_factor": [1 + i / 100 for i in range(HEAD_DIM // 2)],
    "long_factor": [1 + i for i in range(HEAD_DIM // 2)],
}
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 1024}
LONG = {"rope_type": "longrope", **DIVISORS}
ROPES: dict[str, dict[str, Any]] = {
    "linear": {"rope_type": "linear", "factor": 4.0},
    "dynamic": {"rope_type": "dynamic", "factor": 4.0},
    "llama3": {
        "rope_type": "llama3",
        "rope_theta": 5e5,
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 1024,
    },
    "yarn": YARN,
    "yarn_without_factor": YARN | {"factor": None},
    "yarn_wide": YARN | {"beta_fast": 64, "beta_slow": 2, "truncate": False},
    "yarn_sharp": YARN | {"attention_factor": 1.5},
    "yarn_of_deepseek": YARN | {"mscale": 0.7, "mscale_all_dim": 1.3},
    "yarn_of_one_pair": YARN | {"beta_fast": 5.0, "beta_slow": 5.0, "truncate": False},
    "longrope": LONG | {"original_max_position_embeddings": 1024},
    "longrope_factor": LONG | {"original_max_position_embeddings": 1024, "factor": 16.0},
    "longrope_sharp": LONG | {"original_max_position_embeddings": 1024, "attention_factor": 1.2},
}


def spec(rope: dict[str, Any], **config: Any) -> RopeSpec:
    values = {"max_position_embeddings": MAX_POSITIONS, "rope_parameters": rope} | config
    return rope_from_config(JsonValues(values), HEAD_DIM)


@pytest.mark.parametrize("total_tokens", [512, 1024, 1025, 4096, 10_000])
@pytest.mark.parametrize("name", ROPES)
def test_frequencies_equal_those_of_transformers(name: str, total_tokens: int) -> None:
    rope = {"rope_theta": 1e4} | ROPES[name]
    config = LlamaConfig(
        hidden_size=2 * HEAD_DIM,
        num_attention_heads=2,
        max_position_embeddings=MAX_POSITIONS,
        rope_parameters=dict(rope),
    )
    compute = ROPE_INIT_FUNCTIONS[rope["rope_type"]]
    expected, factor = compute(config, torch.device("cpu"), seq_len=total_tokens)
    resolved = spec(rope).resolve(total_tokens)
    torch.testing.assert_close(torch.tensor(resolved.frequencies), expected, rtol=2e-6, atol=0)
    assert resolved.attention_factor == pytest.approx(factor, rel=1e-6)


def test_a_plain_rope_turns_by_powers_of_theta() -> None:
    resolved = RopeSpec(16.0, 4).resolve(10)
    assert (resolved.frequencies, resolved.attention_factor) == ([1.0, 0.25], 1.0)


def test_the_older_names_of_longrope_mean_the_same() -> None:
    new = {"rope_type": "longrope", "rope_theta": 1e4, **DIVISORS}
    old = {"type": "su", **DIVISORS}
    assert spec(new) == spec({}, rope_theta=1e4, rope_scaling=old)
    assert spec(new) == spec({}, rope_theta=1e4, rope_scaling=old | {"type": "yarn"})


def test_dynamic_and_yarn_scaling_lengthen_what_a_model_can_read() -> None:
    assert spec(ROPES["dynamic"]).stretched(4096) == 4 * 4096
    assert spec(YARN).stretched(1024) == 4096
    assert spec(YARN).stretched(10_000) == 10_000
    assert spec(ROPES["linear"]).stretched(4096) == 4096


def test_divisors_divide() -> None:
    plain, divided = RopeSpec(1e4, 4), RopeSpec(1e4, 4, DivisorScaling((1.0, 8.0)))
    frequencies = plain.resolve(10).frequencies
    assert divided.resolve(10).frequencies == [frequencies[0], frequencies[1] / 8]


@pytest.mark.parametrize(
    ("rope", "message"),
    [
        ({"rope_theta": -1.0}, "theta is -1.0, must be above 1"),
        ({"partial_rotary_factor": 0.3}, "rope turns 19 cells of a head"),
        ({"partial_rotary_factor": 1.5}, "partial_rotary_factor is 1.5, must be above 0"),
        ({"rope_type": "xpos"}, "rope type 'xpos' is not supported, only default, linear"),
        ({"rope_type": 3}, "rope_type is 3, must be a string"),
        ({"rope_type": "linear"}, "has no factor"),
        ({"rope_type": "linear", "factor": 0}, "factor is 0, must be 1e-06 to 1e\\+06"),
        ({"rope_type": "dynamic", "factor": 1e300}, "factor is 1e\\+300, must be 1e-06"),
        (ROPES["llama3"] | {"low_freq_factor": 4.0}, "low_freq_factor 4.0 must be below"),
        (ROPES["llama3"] | {"original_max_position_embeddings": 0}, "positions is 0, must be 1 to"),
        (YARN | {"original_max_position_embeddings": 0}, "positions is 0, must be 1 to"),
        (YARN | {"beta_slow": 1e-300}, "beta_slow is 1e-300, must be 1e-06"),
        (YARN | {"attention_factor": -1.0}, "attention_factor is -1.0, must be 1e-06"),
        (LONG | {"long_factor": [0.0] * 32}, "divisor is 0.0, must be 1e-30"),
        (LONG | {"long_factor": ["1"]}, "long_factor has '1', must be numbers"),
        (LONG | {"long_factor": 2.0}, "long_factor is 2.0, must be a list"),
        ({"rope_type": "longrope"}, "0 divisors, must be 32"),
    ],
)
def test_parameters_that_describe_no_rotation_are_refused(
    rope: dict[str, Any], message: str
) -> None:
    with pytest.raises(ModelError, match=message):
        spec(rope).resolve(MAX_POSITIONS + 1)
