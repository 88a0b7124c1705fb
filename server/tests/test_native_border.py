"""The border of the native decoder: whatever Python hands over, it is computed or refused with an
exception that names the mistake, and the decoder goes on."""

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from native_decoder import Tensors, description_of, executor_of, tensors_of
from plan_driver import PlanDriver
from text_generation_server._native import Decoder, PagePool, SamplingParams
from text_generation_server.executor.step import StepPlan
from text_generation_server.models.source import ModelSource, resolve
from tiny_models import VOCAB_SIZE, make_tiny_llama

NUM_PAGES = 12
NUM_SLOTS = 3
REFUSALS = (ValueError, TypeError, IndexError, OverflowError, RuntimeError)
Q_PROJ = "model.layers.0.self_attn.q_proj.weight"
NORM = "model.norm.weight"

# Of every kind that JSON has, at and beyond the ends of what numbers hold.
JSON_VALUES = st.one_of(
    st.sampled_from([None, True, False, "", "silu", "none", "head", [], {}, [None], [0], [[1]]]),
    st.sampled_from([-1, 0, 1, 2, 3, 7, 31, 257, 1 << 16, 1 << 24, 1 << 31, 1 << 63, 1 << 64]),
    st.sampled_from([-1.0, 0.0, -0.0, 0.5, 1e-45, 1e38, 1e39, -1e39, 1e300]),
)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> ModelSource:
    folder = tmp_path_factory.mktemp("model")
    make_tiny_llama(folder, attention_bias=True, mlp_bias=True)
    return resolve(str(folder))


@pytest.fixture(scope="module")
def spec(source: ModelSource) -> dict[str, Any]:
    description: dict[str, Any] = json.loads(description_of(source))
    return description


@pytest.fixture(scope="module")
def tensors(source: ModelSource) -> Tensors:
    return tensors_of(source)


def load(spec: Any, tensors: Tensors, **options: Any) -> Decoder:
    return Decoder.load(json.dumps(spec), tensors, **({"num_threads": 1} | options))


def refusal(call: Callable[[], object]) -> str | None:
    """What the exception of a call says; None if there is none. Fails for a panic, which is no
    `Exception`, and for work that threads took up before its mistake was seen."""
    try:
        call()
    except REFUSALS as error:
        text = str(error)
        assert text and "thread failed" not in text and "panicked" not in text, text
        return text
    return None


class TestLoad:
    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"vocab_size": 0}, "vocab_size is 0, expected 1 to 16777216"),
            ({"hidden_size": 1 << 25}, "hidden_size is 33554432"),
            ({"num_layers": 5000}, "num_layers is 5000"),
            ({"num_heads": 3}, "3 heads are no multiple of 2 kv heads"),
            ({"num_heads": -4}, "invalid value: integer `-4`"),
            ({"layer_windows": [None]}, "layer_windows has 1 entries, expected 2"),
            ({"layer_windows": [0, None]}, "window is 0"),
            ({"layer_ropes": [0, 1]}, "a layer has rope 1 of 1"),
            ({"ropes": [{"frequencies": [1.0] * 5, "attention_factor": 1.0}]}, "turns 10 cells"),
            ({"activation": "relu"}, "unknown variant `relu`"),
            ({"attention_scale": 0.0}, "attention_scale is 0"),
            ({"attention_softcap": -1.0}, "attention_softcap is -1"),
            ({"logit_softcap": 0.0}, "logit_softcap is 0"),
            ({"norm_eps": 1e39}, "norm_eps is inf"),
            ({"norm_eps": -1e-5}, "norm_eps is -"),
            ({"norm_offset": 1e300}, "norm_offset is inf"),
            ({"logit_multiplier": -1}, "logit_multiplier is -1"),
            ({"experts": 4}, "unknown field `experts`"),
        ],
    )
    def test_a_wrong_description_is_refused(
        self, spec: dict[str, Any], tensors: Tensors, changes: dict[str, Any], message: str
    ) -> None:
        with pytest.raises(ValueError, match=message):
            load(spec | changes, tensors)

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"head_dim": 258}, "head size 258 is outside 1 to 256"),
            ({"num_heads": 130, "num_kv_heads": 1}, "130 query heads over 1 key-value heads"),
        ],
    )
    def test_attention_that_the_kernels_lack_is_not_implemented(
        self, spec: dict[str, Any], tensors: Tensors, changes: dict[str, Any], message: str
    ) -> None:
        with pytest.raises(NotImplementedError, match=message):
            load(spec | changes, tensors)

    @pytest.mark.parametrize(
        "text", ["", "{", "[]", "null", "{}", '{"vocab_size": NaN}', "\0", "[" * 100_000]
    )
    def test_a_description_that_is_none_is_refused(self, tensors: Tensors, text: str) -> None:
        with pytest.raises(ValueError, match="the model's description: "):
            Decoder.load(text, tensors, num_threads=1)

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"weights": "int3"}, '"int3" is no weight type'),
            ({"kv_dtype": "fp8"}, '"fp8" is no KV type'),
            ({"isa": "avx1024"}, 'no instruction set "avx1024"'),
            ({"num_threads": 0}, "num_threads is 0, expected 1 to 1024"),
            ({"num_threads": 100_000}, "num_threads is 100000"),
            ({"num_threads": -1}, "-1"),
        ],
    )
    def test_wrong_options_are_refused(
        self, spec: dict[str, Any], tensors: Tensors, options: dict[str, Any], message: str
    ) -> None:
        with pytest.raises(ValueError, match=message):
            load(spec, tensors, **options)

    def test_an_exception_of_the_progress_is_raised(
        self, spec: dict[str, Any], tensors: Tensors
    ) -> None:
        def progress(done: int, total: int) -> None:
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            load(spec, tensors, progress=progress)

    @settings(max_examples=300, deadline=None)
    @given(data=st.data())
    def test_any_value_of_any_field_is_taken_or_refused(
        self, spec: dict[str, Any], tensors: Tensors, data: st.DataObject
    ) -> None:
        field = data.draw(st.sampled_from([*spec, "stray"]))
        changed = spec | {field: data.draw(JSON_VALUES)}
        if data.draw(st.booleans()):
            changed.pop(data.draw(st.sampled_from(list(spec))), None)
        try:
            decoder = load(changed, tensors)
        except (ValueError, NotImplementedError) as error:
            assert "thread failed" not in str(error)
        else:
            decoder.bind(PagePool(2, decoder.page_bytes), 1)
            assert len(decoder.logits(small_plan())) == VOCAB_SIZE

    @pytest.mark.parametrize(
        ("name", "tensor", "message"),
        [
            (Q_PROJ, None, f"the tensor {Q_PROJ} is missing"),
            (NORM, ("f32", (31,), bytes(124), None), "is 1 x 31, expected 1 x 32"),
            (NORM, ("f32", (32,), bytes(124), None), f"{NORM}: 124 bytes of weights, expected 128"),
            (NORM, ("f32", (), bytes(128), None), "has the shape .., expected one or two numbers"),
            (NORM, ("f32", (1, 2, 16), bytes(128), None), "expected one or two numbers"),
            (NORM, ("f32", (1 << 62, 4), bytes(128), None), "are more than memory has"),
            (NORM, ("f64", (32,), bytes(256), None), '"f64" is no tensor type'),
            (NORM, ("int4", (1, 32), bytes(16), None), "int4 needs groups with scales and zeros"),
            (NORM, ("f32", (32,), "text", None), "expected a C-contiguous buffer of uint8"),
            (NORM, ("f32", (32,), np.ones(32, np.float32), None), "has items of format"),
            (NORM, ("f32", (32,), np.zeros(256, np.uint8)[::2], None), "is not contiguous"),
            (NORM, ("q4_k", (32,), bytes(18), None), "32 columns do not divide into blocks of 256"),
            (Q_PROJ, ("int4", (32, 32), bytes(512), (0, bytes(64), bytes(32))), "groups of 0"),
            (Q_PROJ, ("int4", (32, 32), bytes(512), (31, bytes(64), bytes(32))), "groups of 31"),
            (Q_PROJ, ("int4", (32, 32), bytes(511), (32, bytes(64), bytes(32))), "511 bytes"),
            (Q_PROJ, ("int4", (32, 32), bytes(512), (32, bytes(63), bytes(32))), "of scales"),
            (Q_PROJ, ("int4", (32, 32), bytes(512), (32, bytes(64), bytes(33))), "of zeros"),
            (
                Q_PROJ,
                ("f32", (32, 32), bytes(4096), (32, bytes(64), bytes(32))),
                "f32 has no groups",
            ),
        ],
    )
    def test_a_wrong_tensor_is_refused(
        self, spec: dict[str, Any], tensors: Tensors, name: str, tensor: Any, message: str
    ) -> None:
        changed = {**tensors, name: tensor}
        if tensor is None:
            del changed[name]
        with pytest.raises(ValueError, match=message):
            load(spec, changed)

    @pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
    @pytest.mark.parametrize("weights", ["bf16", "int8", "int4"])
    def test_what_is_not_finite_is_refused_by_name(
        self, spec: dict[str, Any], tensors: Tensors, weights: str, value: float
    ) -> None:
        for name, (kind, shape, data, _) in tensors.items():
            values = np.frombuffer(data.tobytes(), np.float32).copy()
            values[-1] = value
            spoiled = (kind, shape, values.view(np.uint8), None)
            text = refusal(lambda: load(spec, {**tensors, name: spoiled}, weights=weights))  # noqa: B023
            assert text is not None, name
            assert name.removesuffix(".weight").removesuffix(".bias") in text

    @settings(max_examples=200, deadline=None)
    @given(data=st.data())
    def test_any_tensor_is_taken_or_refused(
        self, spec: dict[str, Any], tensors: Tensors, data: st.DataObject
    ) -> None:
        name = data.draw(st.sampled_from(list(tensors)))
        sizes = st.sampled_from([0, 1, 16, 31, 32, 33, 48, 258, 1 << 32, 1 << 63])
        kinds = ["f32", "f16", "bf16", "q4_0", "q4_1", "q5_0", "q8_0", "q6_k", "", "int4"]
        kind = data.draw(st.sampled_from(kinds))
        shape = data.draw(st.lists(sizes, max_size=3)) if data.draw(st.booleans()) else None
        size = data.draw(st.sampled_from([0, 1, 64, 128, 2048, 4096, 6144]))
        groups = data.draw(st.none() | st.tuples(sizes, st.just(bytes(64)), st.just(bytes(32))))
        given = (kind, shape or tensors[name][1], bytes(size), groups)
        refusal(lambda: load(spec, {**tensors, name: given}))


def small_plan() -> StepPlan:
    """One token of a sequence on page 0."""
    return plan_of([1], [0, 1], [0], [0, 1], [0])


def plan_of(
    tokens: list[int],
    query_starts: list[int],
    contexts: list[int],
    page_starts: list[int],
    pages: list[int],
) -> StepPlan:
    """Wants the logits of the last token."""
    return StepPlan(
        copies=np.empty((0, 2), np.int32),
        tokens=np.array(tokens, np.uint32),
        domains=np.zeros(len(tokens), np.uint64),
        query_starts=np.array(query_starts, np.int32),
        context_lengths=np.array(contexts, np.int32),
        page_starts=np.array(page_starts, np.int32),
        pages=np.array(pages, np.int32),
        sample_rows=np.array([len(tokens) - 1], np.int32),
        sample_slots=np.zeros(1, np.int32),
    )


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
def decoder(spec: dict[str, Any], tensors: Tensors) -> Decoder:
    decoder = load(spec, tensors, num_threads=2)
    decoder.bind(PagePool(NUM_PAGES, decoder.page_bytes), NUM_SLOTS)
    for slot in range(2):
        decoder.open(slot, SamplingParams(), b"", b"")
    return decoder


def expected_bits(decoder: Decoder) -> bytes:
    """Of a step that depends on nothing before it."""
    return decoder.logits(plan_of(list(range(70)), [0, 70], [0], [0, 3], [9, 6, 2])).tobytes()


class TestStep:
    @settings(max_examples=500, deadline=None)
    @given(plan=spoiled_plans(), call=st.sampled_from(["step", "logits"]))
    def test_any_plan_is_computed_or_refused(
        self, decoder: Decoder, plan: StepPlan, call: str
    ) -> None:
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
            ("sample_rows", [39], "2 slots, but 1 positions"),
            ("sample_slots", [0, 0], "slot 0 is in two rows"),
            ("sample_slots", [0, 2], "slot 2 is not open"),
            ("sample_slots", [0, 3], "slot 3"),
            ("sample_slots", [0, -1], "slot -1 is negative"),
            ("mask_rows", [2], "mask_rows has 2"),
            ("mask_rows", [0, 1], "expected 2 masks of 9"),
        ],
    )
    def test_a_wrong_plan_is_refused_by_name(
        self, decoder: Decoder, array: str, numbers: list[int], message: str
    ) -> None:
        plan = mixed_plan()
        kind = getattr(plan, array).dtype
        with pytest.raises((ValueError, IndexError), match=message):
            decoder.step(replace(plan, **{array: np.array(numbers, kind)}))

    def test_what_is_no_plan_is_refused(self, decoder: Decoder) -> None:
        with pytest.raises(AttributeError, match="copies"):
            decoder.step(None)  # type: ignore[arg-type]

    def test_an_unbound_decoder_computes_nothing(
        self, spec: dict[str, Any], tensors: Tensors
    ) -> None:
        decoder = load(spec, tensors)

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
    def test_more_slots_than_can_be_are_refused(self, decoder: Decoder, num_slots: int) -> None:
        with pytest.raises(ValueError, match=str(num_slots)):
            decoder.bind(PagePool(NUM_PAGES, decoder.page_bytes), num_slots)

    def test_tokens_without_any_finite_logit_are_refused(
        self, source: ModelSource, spec: dict[str, Any], tensors: Tensors
    ) -> None:
        """As where pages hold what nobody wrote; the step after it is as ever."""
        driver = PlanDriver(executor_of(load(spec, tensors), source), NUM_PAGES)
        decoder = driver.executor._decoder  # type: ignore[attr-defined]
        decoder.open(0, SamplingParams(), b"", b"")
        before = expected_bits(decoder)
        np.frombuffer(driver.pool, np.uint8)[:] = 0xFF
        with pytest.raises(ValueError, match="slot 0 has no finite logit"):
            decoder.step(plan_of([1], [0, 1], [40], [0, 2], [0, 1]))
        assert expected_bits(decoder) == before
