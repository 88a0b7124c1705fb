"""The tokenizer that is built from a GGUF: its ids are llama.cpp's, its texts survive."""

import gzip
import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from text_generation_server.models.embedded import EMBEDDED_MODEL
from text_generation_server.models.errors import ModelError
from text_generation_server.models.gguf import GgufFile
from text_generation_server.models.gguf_tokenizer import tokenizer_json
from text_generation_server.models.source import resolve
from tokenizers import Tokenizer
from tokenizers.pre_tokenizers import ByteLevel

GOLDEN = Path(__file__).parent / "golden" / "golden_tokens.json.gz"
GOLDEN_SENTENCEPIECE = GOLDEN.with_name("golden_sentencepiece.json.gz")


class OverriddenFile(GgufFile):
    """A GGUF whose metadata says something else."""

    def __init__(self, file: GgufFile, overrides: dict[str, Any]) -> None:
        self.path = file.path
        self._values = file._values | overrides


@cache
def smollm_file() -> GgufFile:
    return resolve(EMBEDDED_MODEL).gguf


def build(**overrides: Any) -> Tokenizer:
    """SmolLM's tokenizer with other values for some tokenizer.ggml keys."""
    renamed = {f"tokenizer.ggml.{key}": value for key, value in overrides.items()}
    return Tokenizer.from_buffer(tokenizer_json(OverriddenFile(smollm_file(), renamed)))


@cache
def golden_sentencepiece() -> dict[str, Any]:
    return json.loads(gzip.decompress(GOLDEN_SENTENCEPIECE.read_bytes()))


def build_sentencepiece(**overrides: Any) -> Tokenizer:
    """Gemma's tokenizer, as far as the golden texts need it."""
    tokens, scores, types = zip(*golden_sentencepiece()["vocabulary"], strict=True)
    metadata = {
        "model": "llama",
        "tokens": list(tokens),
        "scores": list(scores),
        "token_type": list(types),
        "bos_token_id": tokens.index("<bos>"),
        "unknown_token_id": tokens.index("<unk>"),
        "add_bos_token": False,
    }
    return build(**metadata | overrides)


@cache
def golden() -> dict[str, list[tuple[str, list[int]]]]:
    return json.loads(gzip.decompress(GOLDEN.read_bytes()))


@pytest.mark.parametrize(
    ("pre", "least"), [("smollm", 1000), ("gpt-2", 350), ("llama-bpe", 350), ("qwen2", 350)]
)
def test_ids_equal_those_of_llama_cpp(pre: str, least: int) -> None:
    tokenizer = build(pre=pre)
    cases = golden()[pre]
    assert len(cases) >= least
    wrong = [(text, ids) for text, ids in cases if tokenizer.encode(text).ids != ids]
    assert not wrong, f"{len(wrong)} of {len(cases)} differ, first: {wrong[0]}"


@pytest.mark.parametrize("prefix", ["plain", "space_prefix"])
def test_sentencepiece_ids_equal_those_of_llama_cpp(prefix: str) -> None:
    tokenizer = build_sentencepiece(add_space_prefix=prefix == "space_prefix")
    cases = golden_sentencepiece()[prefix]
    assert len(cases) >= 500
    wrong = [(text, ids) for text, ids in cases if tokenizer.encode(text).ids != ids]
    assert not wrong, f"{len(wrong)} of {len(cases)} differ, first: {wrong[0]}"


def test_sentencepiece_text_survives_a_round_trip() -> None:
    tokenizer = build_sentencepiece(add_space_prefix=False)
    for text, ids in golden_sentencepiece()["plain"]:
        if "▁" not in text:  # becomes the space that it stands for
            assert tokenizer.decode(ids, skip_special_tokens=False) == text


def test_the_space_before_a_text_is_taken_back() -> None:
    tokenizer = build_sentencepiece(add_space_prefix=True)
    assert tokenizer.encode("the naïve façade").tokens[0] == "▁the"
    assert tokenizer.decode(tokenizer.encode("the naïve façade").ids) == "the naïve façade"


@pytest.mark.parametrize(
    ("pre", "pieces"),
    [
        ("smollm", ["1", "2", "3", "4", "Ġx", "ĊĊ"]),
        ("gpt-2", ["1234", "Ġx", "ĊĊ"]),
        ("llama-bpe", ["123", "4", "Ġx", "ĊĊ"]),
        ("qwen2", ["1", "2", "3", "4", "Ġx", "ĊĊ"]),
    ],
)
def test_pre_tokenizers_split_digits_as_named(pre: str, pieces: list[str]) -> None:
    """What the golden ids cannot show: this vocabulary has no token of several digits."""
    splitter = build(pre=pre).pre_tokenizer
    assert splitter is not None
    assert [piece for piece, _ in splitter.pre_tokenize_str("1234 x\n\n")] == pieces


def test_text_of_known_bytes_survives_a_round_trip() -> None:
    tokenizer = build()
    vocabulary = tokenizer.get_vocab()
    to_byte_texts = ByteLevel(add_prefix_space=False, use_regex=False).pre_tokenize_str
    survivors = 0
    for text, ids in golden()["smollm"]:
        if all(byte in vocabulary for piece, _ in to_byte_texts(text) for byte in piece):
            assert tokenizer.decode(ids, skip_special_tokens=False) == text
            survivors += 1
    assert survivors >= 1000


def test_control_tokens_are_special_and_user_defined_ones_are_not() -> None:
    types = list(smollm_file().require("tokenizer.ggml.token_type"))
    types[3] = 4
    tokenizer = build(token_type=types)
    ids = tokenizer.encode("<|im_start|>a<repo_name>b<|im_end|>").ids
    assert [ids[0], ids[2], ids[4]] == [1, 3, 2]
    assert tokenizer.decode(ids) == "a<repo_name>b"


def test_bos_token_is_added_where_the_file_says_so() -> None:
    assert build().encode("a").ids == build(add_bos_token=False).encode("a").ids
    assert build(add_bos_token=True).encode("a").ids == [1, *build().encode("a").ids]
    assert build(add_bos_token=True).encode("a", add_special_tokens=False).ids != [1]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"model": "bert"}, "tokenizer 'bert' is not supported"),
        ({"model": "llama"}, "no metadata key tokenizer.ggml.scores"),
        ({"model": "llama", "scores": [0.0]}, "49152 tokens and 1 scores"),
        ({"model": "llama", "scores": [0.0] * 49152, "unknown_token_id": 49152}, "none of 49152"),
        ({"pre": "default"}, "'default' is not supported, only gpt-2"),
        ({"pre": None}, "not supported"),
        ({"add_space_prefix": True}, "space prefix"),
        ({"tokens": None}, "no metadata key tokenizer.ggml.tokens"),
        ({"merges": ["never seen"]}, "merges are damaged"),
    ],
)
def test_unsupported_tokenizers_are_refused(overrides: dict[str, Any], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        build(**overrides)
