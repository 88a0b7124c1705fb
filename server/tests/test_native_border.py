"""Loading the native decoder: any description and any tensors are packed or refused with an
exception that names the mistake."""

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from native_decoder import Tensors, description_of, refusal, tensors_of
from plan_driver import small_plan
from text_generation_server._native import Decoder, PagePool
from text_generation_server.models.source import ModelSource, resolve
from tiny_models import VOCAB_SIZE, make_tiny_llama

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
    spec: dict[str, Any], tensors: Tensors, changes: dict[str, Any], message: str
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
    spec: dict[str, Any], tensors: Tensors, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(NotImplementedError, match=message):
        load(spec | changes, tensors)


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", "{}", '{"vocab_size": NaN}', "\0", "[" * 100_000]
)
def test_a_description_that_is_none_is_refused(tensors: Tensors, text: str) -> None:
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
    spec: dict[str, Any], tensors: Tensors, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        load(spec, tensors, **options)


def test_an_exception_of_the_progress_is_raised(spec: dict[str, Any], tensors: Tensors) -> None:
    def progress(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        load(spec, tensors, progress=progress)


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_any_value_of_any_field_is_taken_or_refused(
    spec: dict[str, Any], tensors: Tensors, data: st.DataObject
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
    spec: dict[str, Any], tensors: Tensors, name: str, tensor: Any, message: str
) -> None:
    changed = {**tensors, name: tensor}
    if tensor is None:
        del changed[name]
    with pytest.raises(ValueError, match=message):
        load(spec, changed)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("weights", ["bf16", "int8", "int4"])
def test_what_is_not_finite_is_refused_by_name(
    spec: dict[str, Any], tensors: Tensors, weights: str, value: float
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
    spec: dict[str, Any], tensors: Tensors, data: st.DataObject
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
