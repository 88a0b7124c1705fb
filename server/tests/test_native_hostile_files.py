"""Truncated, lying and damaged model files on their way into the native executor: a model that
computes, or ModelError. The readers by themselves: `test_hostile_files`."""

import json
import random
import shutil
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from plan_driver import PlanDriver
from safetensors.numpy import load_file, save_file
from text_generation_server.executor.native_executor import load_native_executor
from text_generation_server.executor.native_options import NativeOptions
from text_generation_server.models.errors import ModelError
from text_generation_server.models.quantize import quantize_model
from text_generation_server.models.source import resolve
from tiny_gguf import write_gguf
from tiny_models import edit_json, make_tiny_llama

QUANTIZED = "quantized"
fuzzed = settings(
    max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With model.safetensors and tiny.gguf of the same model, and a quantized folder of it."""
    folder = tmp_path_factory.mktemp("model")
    make_tiny_llama(folder, num_hidden_layers=1, intermediate_size=64)
    quantize_model(resolve(str(folder)), folder / QUANTIZED, "int4")
    write_gguf(folder)
    return folder


def outcome(path: Path) -> str:
    """ "refused", or "computed" where tokens have logits, of whatever value."""
    try:
        executor = load_native_executor(resolve(str(path)), NativeOptions(num_threads=1))
    except ModelError as error:
        assert "thread failed" not in str(error)
        return "refused"
    driver = PlanDriver(executor, num_pages=2)
    logits = driver.logits([1, 2, 3], chunk=3)
    assert logits.shape == (3, executor.facts.vocab_size)
    return "computed"


def written(folder: Path, to: Path, content: bytes) -> Path:
    """A copy of the model whose weights are this content: a GGUF file, or a folder."""
    if content.startswith(b"GGUF") or to.suffix == ".gguf":
        to.write_bytes(content)
        return to
    shutil.copytree(
        folder, to, dirs_exist_ok=True, ignore=shutil.ignore_patterns("*.gguf", QUANTIZED)
    )
    (to / "model.safetensors").write_bytes(content)
    return to


FILES = ["tiny.gguf", "model.safetensors", f"{QUANTIZED}/model.safetensors"]


def place(tmp_path: Path, name: str) -> Path:
    return tmp_path / ("spoiled.gguf" if name.endswith("gguf") else "spoiled")


@pytest.mark.parametrize("name", FILES)
def test_a_truncated_file_is_refused(folder: Path, tmp_path: Path, name: str) -> None:
    content = (folder / name).read_bytes()
    to = place(tmp_path, name)
    assert outcome(written((folder / name).parent, to, content)) == "computed"
    lengths = random.Random(0).sample(range(len(content)), 80)
    for length in [*lengths, 0, 8, len(content) - 1]:
        # A GGUF's last tensor may be followed by padding.
        found = outcome(written((folder / name).parent, to, content[:length]))
        assert found == "refused" or not any(content[length:]), length


@pytest.mark.parametrize("name", FILES)
@fuzzed
@given(data=st.data())
def test_flipped_bits_are_computed_or_refused(
    folder: Path, tmp_path: Path, name: str, data: st.DataObject
) -> None:
    content = bytearray((folder / name).read_bytes())
    # Half of them where the file describes itself.
    end = data.draw(st.sampled_from([2000, len(content)]))
    for bit in data.draw(st.lists(st.integers(0, 8 * end - 1), min_size=1, max_size=4)):
        content[bit // 8] ^= 1 << bit % 8
    outcome(written((folder / name).parent, place(tmp_path, name), bytes(content)))


@pytest.mark.parametrize("name", FILES)
@fuzzed
@given(data=st.data())
def test_lying_numbers_are_computed_or_refused(
    folder: Path, tmp_path: Path, name: str, data: st.DataObject
) -> None:
    content = (folder / name).read_bytes()
    at = data.draw(st.integers(0, 2000))
    lie = struct.pack("<Q", data.draw(st.sampled_from([0, 1, 3, 1 << 31, 1 << 32, (1 << 64) - 1])))
    spoiled = content[:at] + lie + content[at + len(lie) :]
    outcome(written((folder / name).parent, place(tmp_path, name), spoiled))


@fuzzed
@given(data=st.data())
def test_any_number_in_a_config_is_computed_or_refused(
    folder: Path, tmp_path: Path, data: st.DataObject
) -> None:
    to = written(folder, tmp_path / "spoiled", (folder / "model.safetensors").read_bytes())
    shutil.copy(folder / "config.json", to)
    fields = [k for k, v in json.loads((to / "config.json").read_text()).items() if k != "dtype"]
    numbers = st.sampled_from([-1, 0, 1, 3, 31, 257, 1 << 24, 1 << 40, 0.5, -2.0, 1e39, 1e300])
    edit_json(
        to / "config.json",
        **{data.draw(st.sampled_from(fields)): data.draw(numbers | st.none() | st.booleans())},
    )
    outcome(to)


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("name", ["model.norm.weight", "model.layers.0.mlp.up_proj.weight"])
def test_weights_that_are_not_finite_are_refused_by_name(
    folder: Path, tmp_path: Path, name: str, value: float
) -> None:
    to = written(folder, tmp_path / "spoiled", b"")
    tensors = load_file(folder / "model.safetensors")
    tensors[name] = tensors[name].copy()
    tensors[name].flat[-1] = value
    save_file(tensors, to / "model.safetensors")
    with pytest.raises(ModelError, match=name.removesuffix(".weight")):
        load_native_executor(resolve(str(to)), NativeOptions(num_threads=1))
