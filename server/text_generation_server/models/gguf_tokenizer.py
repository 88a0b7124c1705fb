"""Builds a tokenizer.json from the tokenizer inside a GGUF file.

Follows llama.cpp's llama-vocab.cpp: "gpt2" is byte-level BPE, with `tokenizer.ggml.pre` naming how
text is split before it; "llama" is `gguf_sentencepiece`. Tests compare the ids with llama.cpp's.
"""

import re
from dataclasses import dataclass
from enum import IntEnum

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, processors

from text_generation_server.models import gguf_sentencepiece
from text_generation_server.models.errors import ModelError
from text_generation_server.models.gguf import GgufFile


class TokenType(IntEnum):
    """`tokenizer.ggml.token_type`."""

    NORMAL = 1
    UNKNOWN = 2
    CONTROL = 3
    USER_DEFINED = 4
    UNUSED = 5
    BYTE = 6


@dataclass(frozen=True, slots=True)
class _PreTokenizer:
    """How llama.cpp splits text for one value of `tokenizer.ggml.pre`."""

    patterns: tuple[str, ...]
    """Each splits what the one before left, matches and gaps alike."""
    ignore_merges: bool = False
    """Whether a piece that is a token is taken as it is."""
    adds_bos: bool = False
    """Whether the text starts with the bos token when the file does not say."""


_GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
_GPT4 = (
    r"(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])|[^\r\n\p{L}\p{N}]?\p{L}+"
    r"|\p{N}DIGITS| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_PLAIN_GPT2 = _PreTokenizer((_GPT2,))
_LLAMA3 = _PreTokenizer((_GPT4.replace("DIGITS", "{1,3}"),), ignore_merges=True, adds_bos=True)
_PRE_TOKENIZERS = {
    "gpt-2": _PLAIN_GPT2,
    "llama-bpe": _LLAMA3,
    "llama3": _LLAMA3,
    "llama-v3": _LLAMA3,
    "qwen2": _PreTokenizer((_GPT4.replace("DIGITS", ""),)),
    "smollm": _PreTokenizer((r"\p{N}", _GPT2)),
}


def tokenizer_json(file: GgufFile) -> bytes:
    """The file's tokenizer as a tokenizer.json. Raises ModelError for kinds that are not built."""
    tokens = list(file.require("tokenizer.ggml.tokens"))
    match file.require("tokenizer.ggml.model"):
        case "gpt2":
            tokenizer, adds_bos = _byte_level(file, tokens)
        case "llama":
            tokenizer, adds_bos = _sentencepiece(file, tokens), True
        case other:
            raise ModelError(
                f"the GGUF tokenizer {other!r} is not supported, only gpt2 (byte-level BPE) and "
                "llama (SentencePiece): serve the model from a folder with a tokenizer.json"
            )
    tokenizer.add_tokens(_added_tokens(file, tokens))
    if file.get("tokenizer.ggml.add_bos_token", adds_bos):
        _add_bos(tokenizer, file, tokens)
    return tokenizer.to_str().encode()


def _byte_level(file: GgufFile, tokens: list[str]) -> tuple[Tokenizer, bool]:
    """Returns the tokenizer and whether it adds the bos token when the file does not say."""
    pre = _pre_tokenizer(file)
    tokenizer = Tokenizer(_bpe(file, tokens, pre))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(_splits(tokens, pre))
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer, pre.adds_bos


def _sentencepiece(file: GgufFile, tokens: list[str]) -> Tokenizer:
    scores = file.require("tokenizer.ggml.scores")
    if len(scores) != len(tokens):
        raise ModelError(f"{file.path} has {len(tokens)} tokens and {len(scores)} scores")
    unknown_id = file.get("tokenizer.ggml.unknown_token_id", 0)
    if unknown_id >= len(tokens):
        raise ModelError(f"{file.path}: the unknown token {unknown_id} is none of {len(tokens)}")
    adds_space_prefix = bool(file.get("tokenizer.ggml.add_space_prefix", True))
    tokenizer = Tokenizer(gguf_sentencepiece.bpe(tokens, scores, tokens[unknown_id]))
    tokenizer.normalizer = gguf_sentencepiece.normalizer(adds_space_prefix)
    tokenizer.decoder = gguf_sentencepiece.decoder(adds_space_prefix)
    return tokenizer


def _pre_tokenizer(file: GgufFile) -> _PreTokenizer:
    name = file.get("tokenizer.ggml.pre", "missing")
    if name not in _PRE_TOKENIZERS:
        raise ModelError(
            f"the GGUF pre-tokenizer (tokenizer.ggml.pre) {name!r} is not supported, only "
            f"{', '.join(_PRE_TOKENIZERS)}: serve the model from a folder with a tokenizer.json"
        )
    if file.get("tokenizer.ggml.add_space_prefix", False):
        raise ModelError("a GGUF tokenizer that adds a space prefix is not supported")
    return _PRE_TOKENIZERS[name]


def _splits(tokens: list[str], pre: _PreTokenizer) -> list[pre_tokenizers.PreTokenizer]:
    splits: list[pre_tokenizers.PreTokenizer] = [
        pre_tokenizers.Split(Regex(p), behavior="isolated") for p in pre.patterns
    ]
    splits.append(pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False))
    unknown = set(pre_tokenizers.ByteLevel.alphabet()) - set(tokens)
    if unknown:
        # A byte without a token is dropped, but only after the merges: its neighbours stay apart.
        pattern = "|".join(map(re.escape, sorted(unknown)))
        splits.append(pre_tokenizers.Split(Regex(pattern), behavior="removed"))
    return splits


def _bpe(file: GgufFile, tokens: list[str], pre: _PreTokenizer) -> models.BPE:
    vocab = {token: i for i, token in enumerate(tokens)}
    # A token may hold spaces only as their stand-in "Ġ", so the first space separates.
    merges = [tuple(merge.split(" ", 1)) for merge in file.require("tokenizer.ggml.merges")]
    try:
        return models.BPE(vocab=vocab, merges=merges, ignore_merges=pre.ignore_merges)
    except Exception as error:  # the library raises nothing narrower
        raise ModelError(f"{file.path}: the tokenizer's merges are damaged: {error}") from error


def _added_tokens(file: GgufFile, tokens: list[str]) -> list[AddedToken]:
    """Tokens found in the text as a whole; control tokens are hidden when text is decoded."""
    types = file.get("tokenizer.ggml.token_type", [])
    return [
        AddedToken(token, special=kind != TokenType.USER_DEFINED, normalized=False)
        for token, kind in zip(tokens, types, strict=False)
        if kind in (TokenType.CONTROL, TokenType.USER_DEFINED, TokenType.UNKNOWN)
    ]


def _add_bos(tokenizer: Tokenizer, file: GgufFile, tokens: list[str]) -> None:
    bos_id = file.require("tokenizer.ggml.bos_token_id")
    bos = tokens[bos_id]
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{bos} $A", pair=f"{bos} $A {bos} $B", special_tokens=[(bos, bos_id)]
    )
