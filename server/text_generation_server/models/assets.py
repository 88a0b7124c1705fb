"""What turns text into tokens and back, read from a model's files for the router."""

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import tokenizers

from text_generation_server.models.disk_cache import DiskCache
from text_generation_server.models.errors import ModelError
from text_generation_server.models.gguf import GgufFile
from text_generation_server.models.gguf_tokenizer import tokenizer_json
from text_generation_server.models.hf_config import read_json
from text_generation_server.models.source import ModelSource

# The texts by which llama.cpp knows an end of turn (llama-vocab.cpp, special_eog_ids).
_END_OF_TURN_TEXTS = {
    "<|eot_id|>",
    "<|eom_id|>",
    "<|im_end|>",
    "<|end|>",
    "<|end_of_text|>",
    "<|endoftext|>",
    "<end_of_turn>",
}

_BUILDERS = ("gguf_tokenizer.py", "gguf_sentencepiece.py")


@dataclass(frozen=True, slots=True)
class Assets:
    """The tokenizer, the chat template and the special tokens of a model."""

    tokenizer_json: bytes
    chat_template: str | None
    """Jinja source, None when the model has none."""
    eos_token_ids: tuple[int, ...]
    """Ids that end an answer, ascending."""
    bos_token: str
    """Text of the special token as templates want it, "" when the model has none."""
    eos_token: str


def load_assets(
    source: ModelSource, tokenizer_config: Path | None = None, cache_dir: Path | None = None
) -> Assets:
    """tokenizer_config: a tokenizer_config.json to use in place of the model's own, its chat
    template and special tokens included. cache_dir: where a GGUF's tokenizer is kept once it is
    built; None: nowhere. Raises ModelError."""
    cache = DiskCache(cache_dir)
    if source.is_gguf:
        assets = _kept_gguf_assets(source.gguf, cache)
    else:
        assets = _folder_assets(source.path, cache)
    return assets if tokenizer_config is None else _override(assets, read_json(tokenizer_config))


def _override(assets: Assets, config: dict[str, Any]) -> Assets:
    return Assets(
        tokenizer_json=assets.tokenizer_json,
        chat_template=_template(config) or assets.chat_template,
        eos_token_ids=assets.eos_token_ids,
        bos_token=_token_text(config, "bos_token") or assets.bos_token,
        eos_token=_token_text(config, "eos_token") or assets.eos_token,
    )


def _folder_assets(folder: Path, cache: DiskCache) -> Assets:
    content = _read_tokenizer(folder / "tokenizer.json")
    config = _read_optional(folder / "tokenizer_config.json")
    special = _read_optional(folder / "special_tokens_map.json") | config
    template_file = folder / "chat_template.jinja"
    if template_file.is_file():
        template: str | None = template_file.read_text(encoding="utf-8")
    else:
        template = _template(config)
    eos_token = _token_text(special, "eos_token")
    return Assets(
        tokenizer_json=content,
        chat_template=template,
        eos_token_ids=_folder_eos_ids(folder, content, eos_token, cache),
        bos_token=_token_text(special, "bos_token"),
        eos_token=eos_token,
    )


def _read_tokenizer(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ModelError(
            f"{path} cannot be read ({error.strerror}): a model folder needs a tokenizer.json; "
            "make one with transformers' AutoTokenizer(...).save_pretrained"
        ) from error


def _folder_eos_ids(
    folder: Path, tokenizer: bytes, eos_token: str, cache: DiskCache
) -> tuple[int, ...]:
    """The ids that the configs state, the generation's before the model's, and the tokenizer's."""
    generation = _read_optional(folder / "generation_config.json")
    stated = generation.get("eos_token_id")
    if stated is None:
        stated = read_json(folder / "config.json").get("eos_token_id")
    ids: set[int | None] = set(stated) if isinstance(stated, list) else {stated}
    # Kept, for reading a large vocabulary takes a second.
    key = f"{hashlib.sha256(tokenizer).hexdigest()} {eos_token}"
    found = cache.get_or_make("eos", key, lambda: _find_token(folder, tokenizer, eos_token))
    return _ascending(ids | {json.loads(found)})


def _find_token(folder: Path, tokenizer: bytes, token: str) -> bytes:
    """The token's id, or null, as JSON."""
    try:
        token_id = tokenizers.Tokenizer.from_buffer(tokenizer).token_to_id(token)
    except Exception as error:  # the library raises nothing narrower
        raise ModelError(f"{folder / 'tokenizer.json'} is damaged: {error}") from error
    return json.dumps(token_id).encode()


def _ascending(ids: set[int | None]) -> tuple[int, ...]:
    return tuple(sorted(i for i in ids if i is not None))


def _read_optional(path: Path) -> dict[str, Any]:
    return read_json(path) if path.is_file() else {}


def _template(config: dict[str, Any]) -> str | None:
    template = config.get("chat_template")
    if isinstance(template, list):
        by_name = {entry["name"]: entry["template"] for entry in template}
        template = by_name.get("default")
    return template


def _token_text(config: dict[str, Any], key: str) -> str:
    """A special token's text, written as a string or as an object with its `content`."""
    token = config.get(key)
    if isinstance(token, dict):
        token = token.get("content")
    return str(token or "")


def _kept_gguf_assets(file: GgufFile, cache: DiskCache) -> Assets:
    key = f"{_code_digest()} {file.metadata_digest()}"
    entry = cache.get_or_make("assets", key, lambda: _to_bytes(_gguf_assets(file)))
    rest, _, tokenizer = entry.partition(b"\n")
    fields = json.loads(rest)
    return Assets(tokenizer, eos_token_ids=tuple(fields.pop("eos_token_ids")), **fields)


def _to_bytes(assets: Assets) -> bytes:
    """The tokenizer.json after a line of JSON with the rest."""
    fields = asdict(assets)
    tokenizer: bytes = fields.pop("tokenizer_json")
    return json.dumps(fields).encode() + b"\n" + tokenizer


def _code_digest() -> str:
    """Of what decides the assets beside the file: this code and the library's version."""
    digest = hashlib.sha256(tokenizers.__version__.encode())
    for module in (Path(__file__), *map(Path(__file__).with_name, _BUILDERS)):
        digest.update(module.read_bytes())
    return digest.hexdigest()


def _gguf_assets(file: GgufFile) -> Assets:
    tokens = file.require("tokenizer.ggml.tokens")
    return Assets(
        tokenizer_json=tokenizer_json(file),
        chat_template=file.get("tokenizer.chat_template"),
        eos_token_ids=_gguf_eos_ids(file, tokens),
        bos_token=_gguf_token(file, tokens, "bos"),
        eos_token=_gguf_token(file, tokens, "eos"),
    )


def _gguf_eos_ids(file: GgufFile, tokens: list[str]) -> tuple[int, ...]:
    stated = {file.get(f"tokenizer.ggml.{name}_token_id") for name in ("eos", "eot", "eom")}
    known = {i for i, token in enumerate(tokens) if token in _END_OF_TURN_TEXTS}
    return _ascending(stated | known)


def _gguf_token(file: GgufFile, tokens: list[str], name: str) -> str:
    token_id = file.get(f"tokenizer.ggml.{name}_token_id")
    if token_id is None:
        return ""
    if token_id >= len(tokens):
        raise ModelError(
            f"{file.path}: the {name} token's id is {token_id}, but there are {len(tokens)} tokens"
        )
    return str(tokens[token_id])
