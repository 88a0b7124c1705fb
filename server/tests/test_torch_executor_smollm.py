"""The torch executor on the embedded model: equal to transformers, and fast on warm turns."""

import inspect
import os
import statistics
import time

import pytest
import torch
from plan_driver import PlanDriver, Sequence
from text_generation_server.executor.torch_executor import load_torch_executor
from text_generation_server.executor.torch_weights import load_weights
from text_generation_server.models.assets import load_assets
from text_generation_server.models.embedded import EMBEDDED_MODEL
from text_generation_server.models.source import resolve
from tokenizers import Tokenizer
from transformers import LlamaConfig, LlamaForCausalLM

NEW_TOKENS = 8
TIE_NATS = 1e-3
# 50 prompts: many short ones, a few long ones.
LENGTHS = [round(1.127**i) + i // 2 for i in range(45)] + [300, 500, 700, 1000, 2000]

SOURCE = resolve(EMBEDDED_MODEL)


@pytest.fixture(scope="module")
def driver() -> PlanDriver:
    executor = load_torch_executor(SOURCE, "float32", num_threads=os.cpu_count())
    return PlanDriver(executor, num_pages=450)


@pytest.fixture(scope="module")
def reference() -> LlamaForCausalLM:
    spec = SOURCE.spec()
    config = LlamaConfig(
        vocab_size=spec.vocab_size,
        hidden_size=spec.hidden_size,
        intermediate_size=spec.intermediate_size,
        num_hidden_layers=spec.num_layers,
        num_attention_heads=spec.num_heads,
        num_key_value_heads=spec.num_kv_heads,
        max_position_embeddings=spec.max_positions,
        rms_norm_eps=spec.norm_eps,
        tie_word_embeddings=True,
        rope_parameters={"rope_type": "default", "rope_theta": spec.ropes[0].theta},
    )
    weights = load_weights(SOURCE, spec, torch.float32)
    weights["lm_head.weight"] = weights["model.embed_tokens.weight"]
    # from_pretrained does not spend time on random weights first.
    return LlamaForCausalLM.from_pretrained(None, config=config, state_dict=weights).eval()


def make_prompts(lengths: list[int]) -> list[list[int]]:
    """Pieces of a long English text and its code; every third as a user's message."""
    tokenizer = Tokenizer.from_buffer(load_assets(SOURCE).tokenizer_json)
    text = tokenizer.encode(inspect.getsource(statistics)).ids
    before = tokenizer.encode("<|im_start|>user\n").ids
    after = tokenizer.encode("<|im_end|>\n<|im_start|>assistant\n").ids
    prompts = []
    for number, length in enumerate(lengths):
        frame = (before, after) if number % 3 == 0 and length > 20 else ([], [])
        start = 211 * number % (len(text) - length)
        body = text[start : start + length - len(frame[0]) - len(frame[1])]
        prompts.append([*frame[0], *body, *frame[1]])
    return prompts


def ties_among(model: LlamaForCausalLM, sequence: Sequence) -> list[str]:
    """Positions where the reference prefers another token by less than a tie's margin; fails on a
    larger one. Later positions are judged on the tokens that were drawn."""
    with torch.inference_mode():
        hidden = model.model(torch.tensor([sequence.tokens])).last_hidden_state[0]
        logits = model.lm_head(hidden[sequence.prompt_length - 1 : -1]).log_softmax(-1)
    ties = []
    for position, (row, token) in enumerate(zip(logits, sequence.drawn, strict=True)):
        margin = (row.max() - row[token]).item()
        assert margin < TIE_NATS, f"{sequence.prompt_length} + {position}: {margin} nat apart"
        if row.argmax() != token:
            ties.append(f"prompt of {sequence.prompt_length}, answer's {position}: {margin:.1e}")
    return ties


@pytest.mark.timeout(900)
def test_greedy_tokens_equal_those_of_transformers(
    driver: PlanDriver, reference: LlamaForCausalLM
) -> None:
    assert len(LENGTHS) == 50
    sequences = driver.generate(make_prompts(LENGTHS), NEW_TOKENS, chunk=256)
    ties = [tie for sequence in sequences for tie in ties_among(reference, sequence)]
    print("ties:", ties)
    assert len(ties) <= 2, ties


def test_a_warm_turn_is_ten_times_faster_than_a_cold_one(driver: PlanDriver) -> None:
    [prompt] = make_prompts([2000])
    start = time.perf_counter()
    [history] = driver.generate([prompt], new_tokens=1, chunk=512)
    cold = time.perf_counter() - start
    # The fastest of some turns: the machine may be busy.
    warm = cold
    for turn in range(5):
        history.tokens += prompt[31 * turn :][:31]
        start = time.perf_counter()
        driver.step([(history, 32)])
        warm = min(warm, time.perf_counter() - start)
    assert warm * 10 < cold, f"warm {warm:.3f} s, cold {cold:.3f} s"
