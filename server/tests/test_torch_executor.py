"""The torch executor equals transformers, whatever the chunks, the batch and the pages."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from plan_driver import PlanDriver
from text_generation_server._native import PagePool
from text_generation_server.executor.torch_executor import TorchExecutor, load_torch_executor
from text_generation_server.models.errors import ModelError
from text_generation_server.models.source import resolve
from tiny_models import edit_json, make_tiny_llama
from transformers import PreTrainedModel

LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 10_000.0,
    "factor": 4.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}
SHAPES: dict[str, dict[str, Any]] = {
    "grouped": {},
    "tied": {"tie_word_embeddings": True},
    "multi_head": {"num_key_value_heads": 4},
    "multi_query": {"num_key_value_heads": 1},
    "attention_bias": {"attention_bias": True},
    "mlp_bias": {"mlp_bias": True},
    "wide_heads": {"head_dim": 20},
    "gelu": {"hidden_act": "gelu_pytorch_tanh"},
    "linear_rope": {"rope_parameters": {"rope_type": "linear", "rope_theta": 1e4, "factor": 3.0}},
    "llama3_rope": {"rope_parameters": LLAMA3},
}
# Across the borders of pages of 8 tokens, and past a block of 128 rows.
PROMPT_LENGTHS = [1, 7, 8, 9, 16, 33, 150, 300]


def load(
    folder: Path,
    dtype: str = "float32",
    page_tokens: int | None = 8,
    total_tokens: int | None = None,
) -> TorchExecutor:
    # One thread: for matrices this small, waiting for a second one takes longer than the work.
    return load_torch_executor(resolve(str(folder)), dtype, page_tokens, 1, total_tokens)


def make_prompts(lengths: list[int], vocab_size: int = 256) -> list[list[int]]:
    rng = np.random.default_rng(1)
    return [rng.integers(0, vocab_size, length).tolist() for length in lengths]


def reference_logprobs(model: PreTrainedModel, tokens: list[int]) -> torch.Tensor:
    """[tokens, vocab]: of the token after each."""
    with torch.inference_mode():
        return model(torch.tensor([tokens])).logits[0].float().log_softmax(-1)


def assert_greedy(model: PreTrainedModel, sequences: list[Any], tolerance: float = 1e-4) -> None:
    """Every drawn token is the reference's most likely one, with its logprob."""
    for sequence in sequences:
        reference = reference_logprobs(model, sequence.tokens)[sequence.prompt_length - 1 : -1]
        assert sequence.drawn == reference.argmax(-1).tolist()
        expected = reference.max(-1).values
        torch.testing.assert_close(
            torch.tensor(sequence.logprobs), expected, atol=tolerance, rtol=0
        )


@pytest.mark.parametrize("shape", SHAPES)
def test_greedy_tokens_equal_those_of_transformers(tmp_path: Path, shape: str) -> None:
    model = make_tiny_llama(tmp_path, **SHAPES[shape])
    driver = PlanDriver(load(tmp_path), num_pages=120)
    assert_greedy(model, driver.generate(make_prompts(PROMPT_LENGTHS), new_tokens=12, chunk=64))


def test_configs_of_older_transformers_give_the_same_model(tmp_path: Path) -> None:
    model = make_tiny_llama(tmp_path, rope_parameters=LLAMA3)
    scaling = {key: value for key, value in LLAMA3.items() if key != "rope_theta"}
    edit_json(
        tmp_path / "config.json",
        remove=("rope_parameters", "dtype"),
        rope_theta=LLAMA3["rope_theta"],
        rope_scaling=scaling,
        torch_dtype="float32",
    )
    driver = PlanDriver(load(tmp_path), num_pages=120)
    assert_greedy(model, driver.generate(make_prompts([40, 200]), new_tokens=4, chunk=64))


@pytest.mark.parametrize("chunk", [1, 7, 64, 1000])
@pytest.mark.parametrize("page_tokens", [1, 16, 32])
def test_chunks_and_page_sizes_change_nothing(tmp_path: Path, chunk: int, page_tokens: int) -> None:
    model = make_tiny_llama(tmp_path)
    driver = PlanDriver(load(tmp_path, page_tokens=page_tokens), num_pages=700)
    assert_greedy(model, driver.generate(make_prompts(PROMPT_LENGTHS), new_tokens=4, chunk=chunk))


def test_a_sequence_goes_on_from_copied_pages(tmp_path: Path) -> None:
    """As after a cache hit that ends inside a page; copies are made in order, chains included."""
    model = make_tiny_llama(tmp_path)
    driver = PlanDriver(load(tmp_path), num_pages=60)
    [prompt] = make_prompts([21])
    first = driver.start(prompt)
    driver.step([(first, 21)])
    second = driver.start([*prompt[:19], 5, 6, 7])
    detour, page = 50, 51
    driver._free = [free for free in driver._free if free not in (detour, page)]
    second.pages = [*first.pages[:2], page]
    second.computed = 19
    copies = np.array([[first.pages[2], detour], [detour, page]], np.int32)
    driver.step([(second, 3), (first, 1)], copies)
    assert_greedy(model, [first, second])


def test_steps_without_draws_or_tokens_are_fine(tmp_path: Path) -> None:
    model = make_tiny_llama(tmp_path)
    driver = PlanDriver(load(tmp_path), num_pages=60)
    sequence = driver.start(make_prompts([20])[0])
    driver.step([(sequence, 10)])
    driver.step([])
    driver.step([(sequence, 10)])
    assert_greedy(model, [sequence])


def test_a_failed_step_leaves_the_executor_usable(tmp_path: Path) -> None:
    model = make_tiny_llama(tmp_path)
    driver = PlanDriver(load(tmp_path), num_pages=60)
    with pytest.raises(IndexError):
        driver.generate([[1, 2, 999_999]], new_tokens=1, chunk=8)
    assert_greedy(model, driver.generate(make_prompts([20]), new_tokens=3, chunk=8))


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_narrow_types_stay_near_float32(tmp_path: Path, dtype: str) -> None:
    model = make_tiny_llama(tmp_path)
    driver = PlanDriver(load(tmp_path, dtype), num_pages=120)
    assert driver.executor.facts.weights == dtype
    for sequence in driver.generate(make_prompts(PROMPT_LENGTHS), new_tokens=4, chunk=64):
        reference = reference_logprobs(model, sequence.tokens)[sequence.prompt_length - 1 : -1]
        expected = reference.gather(1, torch.tensor(sequence.drawn)[:, None])[:, 0]
        assert (torch.tensor(sequence.logprobs) - expected).abs().max() < 0.3
        assert (reference.max(-1).values - expected).max() < 0.3


def test_facts_describe_pages_and_model(tmp_path: Path) -> None:
    make_tiny_llama(tmp_path)
    facts = load(tmp_path, "bfloat16", 16).facts
    assert (facts.name, facts.device, facts.weights) == ("torch", "cpu", "bfloat16")
    assert facts.kv_dtype == "bfloat16" and "threads" in facts.hardware
    assert (facts.vocab_size, facts.context_length, facts.page_tokens) == (258, 512, 16)
    assert facts.page_bytes == 2 * 2 * 16 * 2 * 8 * 2  # layers, k v, tokens, heads, cells, bytes
    assert load(tmp_path, page_tokens=None).facts.page_tokens == 32


def test_the_fingerprint_tells_exchangeable_kv(tmp_path: Path) -> None:
    make_tiny_llama(tmp_path / "a")
    make_tiny_llama(tmp_path / "b", seed=1)
    fingerprints = [
        load(tmp_path / folder, dtype, page_tokens).facts.fingerprint
        for folder, dtype, page_tokens in [
            ("a", "float32", 8),
            ("a", "float32", 8),
            ("a", "bfloat16", 8),
            ("a", "float32", 16),
            ("b", "float32", 8),
        ]
    ]
    assert fingerprints[0] == fingerprints[1]
    assert len(set(fingerprints)) == 4


def test_wrong_settings_are_refused(tmp_path: Path) -> None:
    make_tiny_llama(tmp_path)
    with pytest.raises(ModelError, match="dtype 'int8' is not supported, only float32"):
        load(tmp_path, "int8")
    executor = load(tmp_path)
    with pytest.raises(ValueError, match=f"100 bytes, must be {executor.facts.page_bytes}"):
        executor.bind(PagePool(4, 100), 1)
