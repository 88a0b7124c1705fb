"""A model written by `quantize` is the model that is quantized at load."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from native_decoder import make_executor
from plan_driver import PlanDriver
from safetensors.numpy import load_file, save_file
from text_generation_server.cli import main
from text_generation_server.executor.torch_executor import plan_torch_executor
from text_generation_server.models.embedded import EMBEDDED_MODEL
from text_generation_server.models.errors import ModelError
from text_generation_server.models.quantize import quantize_model
from text_generation_server.models.source import ModelSource, resolve
from tiny_models import edit_json, make_tiny_llama, make_tiny_model
from transformers import Phi3Config

TOKENS = list(b"what a quantized model says of these bytes")
WHOLE_GROUPS = {"intermediate_size": 96}


@pytest.fixture
def tiny(tmp_path: Path) -> ModelSource:
    folder = tmp_path / "tiny"
    make_tiny_llama(folder, **WHOLE_GROUPS)
    return resolve(str(folder))


def logits(source: ModelSource, **options: Any) -> list[list[float]]:
    executor = make_executor(source, **options)
    found: list[list[float]] = PlanDriver(executor, num_pages=20).logits(TOKENS, chunk=64).tolist()
    return found


def quantized(source: ModelSource, weights: str) -> ModelSource:
    output = source.path.parent / weights
    quantize_model(source, output, weights)
    return resolve(str(output))


def size(source: ModelSource) -> int:
    return (source.path / "model.safetensors").stat().st_size


@pytest.mark.parametrize("weights", ["int8", "int4"])
@pytest.mark.parametrize("tied", [True, False])
def test_logits_are_those_of_quantizing_at_load(weights: str, tied: bool, tmp_path: Path) -> None:
    make_tiny_llama(
        tmp_path / "tiny", tie_word_embeddings=tied, attention_bias=True, **WHOLE_GROUPS
    )
    source = resolve(str(tmp_path / "tiny"))
    output = quantized(source, weights)
    expected = logits(source, weights=weights)
    assert logits(output) == expected
    assert logits(output, weights=weights) == expected
    assert expected != logits(source)
    assert size(output) < size(source) / 2


def test_stacked_projections_are_quantized_in_their_rows(tmp_path: Path) -> None:
    sizes = WHOLE_GROUPS | {"hidden_size": 64}
    make_tiny_model(tmp_path / "phi", Phi3Config, tie_word_embeddings=False, **sizes)
    source = resolve(str(tmp_path / "phi"))
    assert logits(quantized(source, "int4")) == logits(source, weights="int4")


def test_rows_that_are_no_whole_groups_have_8_bits(tmp_path: Path) -> None:
    make_tiny_llama(tmp_path / "tiny", intermediate_size=41)
    source = resolve(str(tmp_path / "tiny"))
    assert logits(quantized(source, "int8")) == logits(source, weights="int8")
    with pytest.raises(ModelError, match=r"down_proj\.weight cannot have 4 bits .* take int8"):
        quantized(source, "int4")
    assert not (tmp_path / "int4").exists()


def test_all_else_stays_as_it_was(tiny: ModelSource) -> None:
    (tiny.path / "chat_template.jinja").write_text("the template")
    (tiny.path / "notes.txt").write_text("mine")
    output = quantized(tiny, "int8").path
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        assert (output / name).read_bytes() == (tiny.path / name).read_bytes()
    assert not (output / "notes.txt").exists()
    config = json.loads((output / "config.json").read_text())
    assert config.pop("quantization_config")["weights"] == "int8"
    assert config == json.loads((tiny.path / "config.json").read_text())
    written = load_file(output / "model.safetensors")
    norm = "model.norm.weight"
    assert (written[norm] == load_file(tiny.path / "model.safetensors")[norm]).all()
    assert list(output.parent.glob(".*")) == []


def with_a_file(source: ModelSource, output: Path) -> None:
    output.mkdir()
    (output / "mine").touch()


def quantized_before(source: ModelSource, output: Path) -> None:
    quantize_model(source, output.parent / "first", "int8")
    shutil.rmtree(source.path)
    (output.parent / "first").rename(source.path)


def without_tokenizer(source: ModelSource, output: Path) -> None:
    (source.path / "tokenizer.json").unlink()


@pytest.mark.parametrize(
    ("prepare", "error"),
    [
        (with_a_file, "exists already: name a folder that does not"),
        (quantized_before, "is quantized already"),
        (without_tokenizer, "a model folder needs a tokenizer.json"),
    ],
)
def test_what_cannot_be_done_is_said_before_anything_is_written(
    prepare: Callable[[ModelSource, Path], None],
    error: str,
    tiny: ModelSource,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    output = tiny.path.parent / "output"
    prepare(tiny, output)
    monkeypatch.setattr("text_generation_server._native.quantize", None)
    with pytest.raises(ModelError, match=error):
        quantize_model(tiny, output, "int8")
    assert not (output / "config.json").exists()


def test_a_full_disk_is_noticed_before(tiny: ModelSource, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(tiny.path)._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage)
    with pytest.raises(ModelError, match="has 1000 bytes free, the quantized weights take"):
        quantized(tiny, "int8")
    assert [path.name for path in tiny.path.parent.iterdir()] == [tiny.path.name]


def test_a_gguf_is_not_quantized(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="is a GGUF, only folders of safetensors are quantized"):
        quantize_model(resolve(EMBEDDED_MODEL), tmp_path / "output", "int4")


def test_nothing_is_left_of_a_model_that_is_not_finite(tiny: ModelSource) -> None:
    file = tiny.path / "model.safetensors"
    tensors = load_file(file)
    tensors["model.layers.1.mlp.up_proj.weight"][3, 3] = np.nan
    save_file(tensors, file)
    with pytest.raises(ModelError, match=r"layers\.1\.mlp\.up_proj.* not finite"):
        quantized(tiny, "int4")
    assert [path.name for path in tiny.path.parent.iterdir()] == [tiny.path.name]


def test_damaged_and_later_folders_are_refused(tiny: ModelSource) -> None:
    output = quantized(tiny, "int4")
    with pytest.raises(ModelError, match="only the native executor reads"):
        plan_torch_executor(output, "float32")
    file = output.path / "model.safetensors"
    tensors = load_file(file)
    name = "model.layers.0.mlp.up_proj.weight.q4_1"
    save_file(tensors | {name: tensors[name][:, 1:].copy()}, file)
    with pytest.raises(
        ModelError, match=r"up_proj\.weight\.q4_1 is U8 .* must be U8 in rows of q4_1"
    ):
        logits(output)
    config = output.path / "config.json"
    later = json.loads(config.read_text())["quantization_config"] | {"version": 2}
    edit_json(config, quantization_config=later)
    with pytest.raises(ModelError, match="version 2 of the format, only 1 is read"):
        logits(output)


def test_the_command_prints_the_folder(
    tiny: ModelSource, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tiny.path.parent / "new" / "output"
    command = ["text-generation-server", "quantize", str(tiny.path), str(output)]
    monkeypatch.setattr("sys.argv", command)
    assert main() == 0
    assert capsys.readouterr().out.strip() == str(output)
    assert logits(resolve(str(output))) == logits(tiny, weights="int4")
    assert main() == 66
