"""Steps of the native decoder: any plan is computed or refused with an exception that names the
mistake, before a thread takes it up, and the decoder goes on."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from native_decoder import load_decoder, refusal
from plan_driver import plan_of, small_plan
from text_generation_server._native import Decoder, PagePool, SamplingParams
from text_generation_server.executor.step import StepPlan
from text_generation_server.models.source import ModelSource, resolve
from tiny_models import VOCAB_SIZE, make_tiny_llama

NUM_PAGES = 12
NUM_SLOTS = 3


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> ModelSource:
    folder = tmp_path_factory.mktemp("model")
    make_tiny_llama(folder)
    return resolve(str(folder))


def mixed_plan() -> StepPlan:
    """Two sequences: 40 new tokens on two pages, and one more on 40."""
    tokens = [i % VOCAB_SIZE for i in range(41)]
    plan = plan_of(tokens, [0, 40, 41], [0, 40], [0, 2, 4], [3, 1, 5, 7])
    return replace(
        plan,
        copies=np.array([[1, 2], [2, 4]], np.int32),
        sample_rows=np.array([39, 40], np.int32),
        sample_slots=np.array([0, 1], np.int32),
        mask_rows=np.array([1], np.int32),
        masks=np.full((1, -(-VOCAB_SIZE // 32)), 0xFFFFFFFF, np.uint32),
    )


ARRAYS = [name for name in StepPlan.__slots__ if name not in ("domains", "slots_opened")]
NUMBERS = [
    -(1 << 31),
    -1,
    0,
    1,
    2,
    31,
    32,
    39,
    40,
    41,
    NUM_PAGES,
    257,
    258,
    511,
    512,
    (1 << 31) - 1,
]


@st.composite
def spoiled_plans(draw: st.DrawFn) -> StepPlan:
    plan = mixed_plan()
    for _ in range(draw(st.integers(1, 3))):
        name = draw(st.sampled_from(ARRAYS))
        plan = replace(plan, **{name: draw(spoiled(getattr(plan, name)))})
    return plan


@st.composite
def spoiled(draw: st.DrawFn, array: Any) -> Any:
    """The array with another number, length or type."""
    if not isinstance(array, np.ndarray):
        return array
    flat = array.ravel()
    match draw(st.sampled_from(["number", "number", "cut", "longer", "type", "order", "none"])):
        case "number" if len(flat):
            flat = flat.copy()
            number = draw(st.sampled_from(NUMBERS)) & 0xFFFFFFFF
            flat[draw(st.integers(0, len(flat) - 1))] = np.uint32(number).astype(flat.dtype)
            return flat
        case "cut":
            return flat[: draw(st.integers(0, len(flat)))]
        case "longer":
            return np.append(flat, flat[: draw(st.integers(1, 4))])
        case "type":
            kinds = [np.int64, np.float32, np.uint16, np.uint8, np.bool_, ">i4"]
            return flat.astype(draw(st.sampled_from(kinds)))
        case "order":
            return np.repeat(flat, 2)[::2]
        case "none":
            return draw(st.sampled_from([None, "text", [1, 2], 3]))
    return array


@pytest.fixture(scope="module")
def decoder(source: ModelSource) -> Decoder:
    decoder = load_decoder(source, num_threads=2)
    decoder.bind(PagePool(NUM_PAGES, decoder.page_bytes), NUM_SLOTS)
    for slot in range(2):
        decoder.open(slot, SamplingParams(), b"", b"")
    return decoder


def expected_bits(decoder: Decoder) -> bytes:
    """Of a step that depends on nothing before it."""
    return decoder.logits(plan_of(list(range(70)), [0, 70], [0], [0, 3], [9, 6, 2])).tobytes()


@settings(max_examples=500, deadline=None)
@given(plan=spoiled_plans(), call=st.sampled_from(["step", "logits"]))
def test_any_plan_is_computed_or_refused(decoder: Decoder, plan: StepPlan, call: str) -> None:
    before = expected_bits(decoder)
    refusal(lambda: getattr(decoder, call)(plan))
    assert expected_bits(decoder) == before


@pytest.mark.parametrize(
    ("array", "numbers", "message"),
    [
        ("tokens", [258] * 41, r"tokens\[0\] is 258, expected 0 to below 258"),
        ("tokens", [1] * 40, "query_starts must ascend from 0 to 40"),
        ("query_starts", [0, 41], "query_starts has 2 items, expected 3"),
        ("query_starts", [0, 42, 41], "query_starts must ascend from 0 to 41"),
        ("query_starts", [1, 40, 41], "query_starts must ascend from 0 to 41"),
        ("context_lengths", [0, -1], r"context_lengths\[1\] is -1, expected 0 to below 512"),
        ("context_lengths", [500, 40], r"context_lengths\[0\] is 500"),
        ("context_lengths", [0, 64], "sequence 1 has 2 pages, its 65 tokens need 3"),
        ("page_starts", [0, 2, 3], "page_starts must ascend from 0 to 4"),
        ("pages", [3, 1, 5, NUM_PAGES], rf"pages\[3\] is {NUM_PAGES}, expected 0 to below"),
        ("pages", [3, -1, 5, 7], r"pages\[1\] is -1"),
        ("pages", [3, 1, 5, 1], "page 1 would be written by two sequences"),
        ("pages", [3, 3, 5, 7], "page 3 would be written by two sequences"),
        ("copies", [1], "copies has 1 items, expected 2"),
        ("copies", [1, NUM_PAGES], r"copies\[1\] is 12"),
        ("sample_rows", [39, 41], r"sample_rows\[1\] is 41, expected 0 to below 41"),
        ("sample_rows", [39], "2 sampler rows for 1 rows of logits"),
        ("sample_slots", [0, 0], "slot 0 is in two rows"),
        ("sample_slots", [0, 2], "slot 2 is not open"),
        ("sample_slots", [0, 3], "slot 3"),
        ("sample_slots", [0, -1], "slot -1 is negative"),
        ("mask_rows", [2], "mask_rows has 2"),
        ("mask_rows", [0, 1], "expected 2 masks of 9"),
    ],
)
def test_a_wrong_plan_is_refused_by_name(
    decoder: Decoder, array: str, numbers: list[int], message: str
) -> None:
    plan = mixed_plan()
    kind = getattr(plan, array).dtype
    with pytest.raises((ValueError, IndexError), match=message):
        decoder.step(replace(plan, **{array: np.array(numbers, kind)}))


def test_what_is_no_plan_is_refused(decoder: Decoder) -> None:
    with pytest.raises(AttributeError, match="copies"):
        decoder.step(None)  # type: ignore[arg-type]


def test_an_unbound_decoder_computes_nothing(source: ModelSource) -> None:
    decoder = load_decoder(source)

    def assert_unbound() -> None:
        for call in (
            lambda: decoder.step(small_plan()),
            lambda: decoder.logits(small_plan()),
            lambda: decoder.open(0, SamplingParams(), b"", b""),
        ):
            with pytest.raises(RuntimeError, match="no pages yet: bind it first"):
                call()

    assert_unbound()
    pool = PagePool(2, decoder.page_bytes)
    decoder.bind(pool, 1)
    decoder.open(0, SamplingParams(), b"", b"")
    decoder.step(small_plan())
    decoder.unbind()
    assert_unbound()


@pytest.mark.parametrize("num_slots", [-1, 1 << 40, (1 << 63) - 1, 1 << 64])
def test_more_slots_than_can_be_are_refused(decoder: Decoder, num_slots: int) -> None:
    with pytest.raises(ValueError, match=str(num_slots)):
        decoder.bind(PagePool(NUM_PAGES, decoder.page_bytes), num_slots)


def test_tokens_without_any_finite_logit_are_refused(
    source: ModelSource,
) -> None:
    """As where pages hold what nobody wrote; the step after it is as ever."""
    decoder = load_decoder(source)
    pool = PagePool(NUM_PAGES, decoder.page_bytes)
    np.frombuffer(pool, np.uint8)[:] = 0xFF
    decoder.bind(pool, 1)
    decoder.open(0, SamplingParams(), b"", b"")
    before = expected_bits(decoder)
    with pytest.raises(ValueError, match="slot 0 has no finite logit"):
        decoder.step(plan_of([1], [0, 1], [40], [0, 2], [0, 1]))
    assert expected_bits(decoder) == before
