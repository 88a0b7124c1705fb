"""Every family through the torch executor equals transformers, on tiny models of its true shape."""

from pathlib import Path
from typing import Any

import pytest
import transformers
from plan_driver import PlanDriver
from test_torch_executor import assert_greedy, load, make_prompts
from text_generation_server.models.source import resolve
from text_generation_server.models.spec import QkNorm
from tiny_models import make_tiny_model

WINDOW = 20
# Across pages of 8 tokens, chunks of 64, blocks of 128 rows, and far beyond the window.
PROMPT_LENGTHS = [1, 9, 19, 20, 21, 150, 300]

LONG = {
    "rope_type": "longrope",
    "short_factor": [1.0, 1.5, 2.0],
    "long_factor": [1.0, 3.0, 9.0],
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
    "phi3_long": (
        "Phi3Config",
        {
            "num_key_value_heads": 4,
            "original_max_position_embeddings": 128,
            "rope_parameters": LONG | {"partial_rotary_factor": 0.75},
        },
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
    lengths = [length for length in PROMPT_LENGTHS if family != "phi3_long" or length > 128]
    assert_greedy(model, driver.generate(make_prompts(lengths), new_tokens=6, chunk=64))
