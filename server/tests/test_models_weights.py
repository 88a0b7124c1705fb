"""Loading weights from safetensors and GGUF files; broken files are refused."""

import json
import math
import shutil
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from text_generation_server.executor.torch_weights import load_weights
from text_generation_server.models.digest import weights_digest
from text_generation_server.models.errors import ModelError
from text_generation_server.models.source import ModelSource, resolve
from tiny_models import VOCAB_SIZE, make_tiny_llama


@pytest.fixture
def tiny(tmp_path: Path) -> ModelSource:
    make_tiny_llama(tmp_path)
    return resolve(str(tmp_path))


def load(source: ModelSource) -> dict[str, torch.Tensor]:
    return load_weights(source, source.spec(), torch.float32)


def test_sharded_weights_equal_those_in_one_file(tmp_path: Path) -> None:
    model = make_tiny_llama(tmp_path / "one")
    shutil.copytree(tmp_path / "one", tmp_path / "many")
    (tmp_path / "many" / "model.safetensors").unlink()
    model.save_pretrained(tmp_path / "many", max_shard_size="20KB")
    assert len(list((tmp_path / "many").glob("*.safetensors"))) > 1
    one, many = (load(resolve(str(tmp_path / name))) for name in ("one", "many"))
    assert one.keys() == many.keys()
    assert all(torch.equal(one[name], many[name]) for name in one)


def rewrite(source: ModelSource, name: str, tensor: torch.Tensor | None) -> None:
    """Replace a tensor of the weights file, or remove it."""
    path = source.path / "model.safetensors"
    tensors = load_file(path)
    tensors.pop(name, None)
    save_file(tensors if tensor is None else tensors | {name: tensor}, path)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_weights_that_are_not_finite_are_refused(tiny: ModelSource, value: float) -> None:
    rewrite(tiny, "model.norm.weight", torch.full((32,), value))
    with pytest.raises(ModelError, match=r"model\.norm\.weight has values that are not finite"):
        load(tiny)


@pytest.mark.parametrize(
    ("name", "tensor", "message"),
    [
        ("model.norm.weight", None, r"lacks 1 of 21 tensors, first model\.norm\.weight"),
        ("model.norm.weight", torch.ones(31), r"shape \[31\], the model's description says \[32\]"),
        ("model.norm.weight", torch.ones(32, dtype=torch.int64), "not a float type"),
        ("model.layers.2.stray", torch.ones(1), r"model\.layers\.2\.stray has no place"),
    ],
)
def test_weights_of_another_model_are_refused(
    tiny: ModelSource, name: str, tensor: torch.Tensor | None, message: str
) -> None:
    rewrite(tiny, name, tensor)
    with pytest.raises(ModelError, match=message):
        load(tiny)


def test_known_surplus_tensors_are_ignored(tmp_path: Path) -> None:
    make_tiny_llama(tmp_path, tie_word_embeddings=True)
    source = resolve(str(tmp_path))
    plain = load(source)
    rewrite(source, "lm_head.weight", torch.ones(VOCAB_SIZE, 32))
    rewrite(source, "model.layers.0.self_attn.rotary_emb.inv_freq", torch.ones(4))
    assert load(source).keys() == plain.keys()


@pytest.mark.parametrize("kept", [0, 4, 200, 10_000])
def test_truncated_safetensors_are_refused(tiny: ModelSource, kept: int) -> None:
    path = tiny.path / "model.safetensors"
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(ModelError, match=r"truncated or no safetensors file|is empty"):
        load(tiny)


@pytest.mark.parametrize(
    ("index", "message"),
    [
        ({"weight_map": {"a": "model-1.safetensors"}}, r"model-1\.safetensors is missing"),
        ({"weight_map": {"a": "../model.safetensors"}}, "not a file of its folder"),
        ({"weight_map": {}}, "no weight_map"),
    ],
)
def test_lying_indexes_are_refused(tiny: ModelSource, index: dict[str, Any], message: str) -> None:
    (tiny.path / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(ModelError, match=message):
        load(tiny)


def test_a_folder_without_weights_is_refused(tiny: ModelSource) -> None:
    (tiny.path / "model.safetensors").rename(tiny.path / "pytorch_model.bin")
    with pytest.raises(ModelError, match=r"0 \*\.safetensors files.*\*\.bin weights are not read"):
        load(tiny)


def test_the_digest_follows_content(tmp_path: Path) -> None:
    make_tiny_llama(tmp_path / "a")
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    a, b = (resolve(str(tmp_path / name)) for name in "ab")
    assert weights_digest(a) == weights_digest(b)
    norm = load(b)["model.norm.weight"]
    norm[0] += 1
    rewrite(b, "model.norm.weight", norm)
    assert weights_digest(a) != weights_digest(b)


# GGUF files


def write_gguf(
    folder: Path,
    architecture: str = "llama",
    divisors: list[float] | None = None,
    **metadata: Any,
) -> ModelSource:
    """The tiny model of `folder` as a GGUF, converted as llama.cpp converts it."""
    tensors = load_file(folder / "model.safetensors")
    spec = resolve(str(folder)).spec()
    path = folder / "tiny.gguf"
    writer = gguf.GGUFWriter(path, architecture)
    numbers = {
        "block_count": spec.num_layers,
        "context_length": spec.max_positions,
        "embedding_length": spec.hidden_size,
        "feed_forward_length": spec.intermediate_size,
        "attention.head_count": spec.num_heads,
        "attention.head_count_kv": spec.num_kv_heads,
    } | metadata
    for key, number in numbers.items():
        writer.add_uint32(f"llama.{key}", number)
    writer.add_float32("llama.attention.layer_norm_rms_epsilon", spec.norm_eps)
    writer.add_token_list([chr(i) for i in range(VOCAB_SIZE)])
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, spec.num_layers)
    for name, tensor in tensors.items():
        values = tensor.numpy()
        for part, heads in (("q_proj", spec.num_heads), ("k_proj", spec.num_kv_heads)):
            if part in name:
                halves = values.reshape(heads, 2, values.shape[0] // heads // 2, *values.shape[1:])
                values = halves.swapaxes(1, 2).reshape(values.shape)
        renamed = names.get_name(name, try_suffixes=(".weight", ".bias"))
        assert renamed is not None
        writer.add_tensor(renamed, np.ascontiguousarray(values))
    if divisors is not None:
        writer.add_tensor("rope_freqs.weight", np.array(divisors, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return resolve(str(path))


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("biased", [True, False])
def test_a_gguf_gives_the_weights_it_was_made_from(
    tmp_path: Path, tied: bool, biased: bool
) -> None:
    make_tiny_llama(
        tmp_path,
        tie_word_embeddings=tied,
        attention_bias=biased,
        mlp_bias=biased,
        rms_norm_eps=2.0**-20,  # the same number in a GGUF's float32
    )
    folder, file = resolve(str(tmp_path)), write_gguf(tmp_path)
    assert file.spec() == folder.spec()
    expected, weights = load(folder), load(file)
    assert expected.keys() == weights.keys()
    assert all(torch.equal(expected[name], weights[name]) for name in expected)


def test_rope_divisors_of_a_gguf_scale_the_frequencies(tmp_path: Path) -> None:
    make_tiny_llama(tmp_path)
    plain = resolve(str(tmp_path)).spec().ropes[0].resolve(512).frequencies
    file = write_gguf(tmp_path, divisors=[1.0, 1.0, 2.5, 8.0])
    scaled = file.spec().ropes[0].resolve(512).frequencies
    assert scaled == [plain[0], plain[1], plain[2] / 2.5, plain[3] / 8.0]
    assert load(file).keys() == load(resolve(str(tmp_path))).keys()


@pytest.mark.parametrize("kept", [0, 3, 20, 300, 3_000, 60_000])
def test_truncated_ggufs_are_refused(tmp_path: Path, kept: int) -> None:
    make_tiny_llama(tmp_path)
    path = write_gguf(tmp_path).path
    assert path.stat().st_size > kept
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(ModelError, match=r"truncated or not a GGUF|is empty"):
        load(resolve(str(path)))


def test_unsupported_ggufs_are_refused(tmp_path: Path) -> None:
    make_tiny_llama(tmp_path)
    with pytest.raises(ModelError, match="GGUF architecture 'mamba' is not supported"):
        write_gguf(tmp_path, "mamba").spec()
    with pytest.raises(ModelError, match="mixtures of experts"):
        write_gguf(tmp_path, expert_count=4).spec()
    with pytest.raises(ModelError, match="rope over 2 of 8 cells"):
        write_gguf(tmp_path, **{"rope.dimension_count": 2}).spec()
