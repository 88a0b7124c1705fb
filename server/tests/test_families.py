"""Every family through the torch executor equals transformers, on tiny models of its true shape."""

from pathlib import Path
from typing import Any

import pytest
import transformers
from plan_driver import PlanDriver
from test_torch_executor import assert_greedy, load, make_prompts
from tiny_models import make_tiny_model

WINDOW = 20
# Across pages of 8 tokens, chunks of 64, blocks of 128 rows, and far beyond the window.
PROMPT_LENGTHS = [1, 9, 19, 20, 21, 150, 300]

YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64}
LONG = {
    "rope_type": "longrope",
    "short_factor": [1.0, 1.5, 2.0, 2.5],
    "long_factor": [1.0, 3.0, 9.0, 20.0],
    "original_max_position_embeddings": 64,
}
PHI3_LONG: dict[str, Any] = {
    "max_position_embeddings": 512,
    "original_max_position_embeddings": 64,
    "rope_parameters": LONG
    | {
        "short_factor": [1.0, 1.5, 2.0],
        "long_factor": [1.0, 3.0, 9.0],
        "partial_rotary_factor": 0.75,
    },
}
FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("LlamaConfig", {}),
    "mistral": ("MistralConfig", {"sliding_window": WINDOW, "head_dim": 16}),
    "mistral_full": ("MistralConfig", {"sliding_window": None}),
    "qwen2": ("Qwen2Config", {}),
    "qwen2_late_window": (
        "Qwen2Config",
        {"use_sliding_window": True, "sliding_window": WINDOW, "max_window_layers": 1},
    ),
    "qwen3": ("Qwen3Config", {"head_dim": 16}),
    "qwen3_bias": ("Qwen3Config", {"head_dim": 16, "attention_bias": True}),
    "gemma2": (
        "Gemma2Config",
        {
            "head_dim": 16,
            "query_pre_attn_scalar": 24,
            "sliding_window": WINDOW,
            "attn_logit_softcapping": 2.0,
            "final_logit_softcapping": 4.0,
        },
    ),
    "gemma3": (
        "Gemma3TextConfig",
        {
            "head_dim": 16,
            "num_hidden_layers": 4,
            "query_pre_attn_scalar": 24,
            "attn_logit_softcapping": 2.0,  # which the model does not heed
            "sliding_window": WINDOW,
            "layer_types": ["sliding_attention", "full_attention"] * 2,
            "rope_parameters": {
                "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1e6},
                "sliding_attention": {"rope_type": "default", "rope_theta": 1e4},
            },
        },
    ),
    "phi3": ("Phi3Config", {"sliding_window": WINDOW}),
    "phi3_partial": (
        "Phi3Config",
        {"rope_parameters": {"rope_type": "default", "partial_rotary_factor": 0.75}},
    ),
    "granite": (
        "GraniteConfig",
        {
            "attention_multiplier": 0.3,
            "embedding_multiplier": 2.0,
            "residual_multiplier": 0.4,
            "logits_scaling": 3.0,
            "attention_bias": True,
            "mlp_bias": True,
        },
    ),
    "olmo2": ("Olmo2Config", {}),
    "smollm3": ("SmolLM3Config", {"num_hidden_layers": 5}),
    "smollm3_windows": (
        "SmolLM3Config",
        {
            "num_hidden_layers": 3,
            "no_rope_layers": [1, 0, 1],
            "use_sliding_window": True,
            "sliding_window": WINDOW,
        },
    ),
}


def make(folder: Path, family: str) -> transformers.PreTrainedModel:
    config_class, fields = FAMILIES[family]
    return make_tiny_model(folder, getattr(transformers, config_class), **fields)


@pytest.mark.parametrize("family", FAMILIES)
def test_greedy_tokens_equal_those_of_transformers(tmp_path: Path, family: str) -> None:
    model = make(tmp_path, family)
    driver = PlanDriver(load(tmp_path), num_pages=120)
    assert_greedy(model, driver.generate(make_prompts(PROMPT_LENGTHS), new_tokens=6, chunk=64))


@pytest.mark.parametrize("family", ["gemma2", "gemma3", "mistral"])
@pytest.mark.parametrize("chunk", [1, 7, 1000])
@pytest.mark.parametrize("page_tokens", [1, 16, 32])
def test_windows_end_where_they_should(
    tmp_path: Path, family: str, chunk: int, page_tokens: int
) -> None:
    """Whatever the pages, and wherever in its page a window begins."""
    model = make(tmp_path, family)
    driver = PlanDriver(load(tmp_path, page_tokens=page_tokens), num_pages=500)
    lengths = [WINDOW - 1, WINDOW, WINDOW + 1, 2 * WINDOW, 53, 200]
    assert_greedy(model, driver.generate(make_prompts(lengths), new_tokens=3, chunk=chunk))


# transformers takes the rope from the sequence at hand: equal where that is as long as the limit,
# or where both are short.
STRETCHED: dict[str, tuple[str, dict[str, Any]]] = {
    "yarn": ("LlamaConfig", {"rope_parameters": YARN}),
    "dynamic": ("LlamaConfig", {"rope_parameters": {"rope_type": "dynamic", "factor": 4.0}}),
    "longrope": ("LlamaConfig", {"rope_parameters": LONG | {"factor": 2.0}}),
    "longrope_phi3": ("Phi3Config", PHI3_LONG),
}


@pytest.mark.parametrize("kind", STRETCHED)
@pytest.mark.parametrize(("total_tokens", "lengths"), [(64, [60, 30]), (150, [146])])
def test_the_longest_sequence_to_serve_decides_the_rope(
    tmp_path: Path, kind: str, total_tokens: int, lengths: list[int]
) -> None:
    config_class, fields = STRETCHED[kind]
    fields = {"max_position_embeddings": 64} | fields
    model = make_tiny_model(tmp_path, getattr(transformers, config_class), **fields)
    driver = PlanDriver(load(tmp_path, total_tokens=total_tokens), num_pages=60)
    assert_greedy(model, driver.generate(make_prompts(lengths), new_tokens=4, chunk=32))


def test_the_rope_is_part_of_the_fingerprint(tmp_path: Path) -> None:
    make_tiny_model(tmp_path, transformers.Phi3Config, **PHI3_LONG)
    short, same, long = (load(tmp_path, total_tokens=n).facts.fingerprint for n in (10, 64, 65))
    assert short == same != long
