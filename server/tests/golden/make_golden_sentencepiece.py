"""Writes golden_sentencepiece.json.gz: texts and the ids that llama.cpp gives them by a vocabulary
of the SentencePiece kind, without and with a space before the text, and that vocabulary.

Needs llama-cpp-python (see make_golden_tokens.py) and Gemma 3's packages (`make gemma`). Of the
vocabulary only what can occur is kept: llama.cpp looks up substrings of the text, so all other
tokens change nothing. Ids are those of the vocabulary that is kept.
"""

import gzip
import json
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from llama_cpp import Llama
from make_golden_tokens import make_texts
from text_generation_server.models.gguf import GgufFile
from text_generation_server.models.source import resolve

OUTPUT = Path(__file__).with_name("golden_sentencepiece.json.gz")
RENAMED = {
    "<|im_start|>": "<start_of_turn>",
    "<|im_end|>": "<end_of_turn>",
    "<|endoftext|>": "<eos>",
    "<repo_name>": "<start_of_image>",
    "<reponame>": "<0x41>",
    "<file_sep>": "<unused7>",
    "<filename>": "<unk>",
    "<gh_stars>": "<table>",
    "<issue_start>": "▁▁",
    "<issue_comment>": "[multimodal]",
}
NORMAL = 1
EVERY = 2
"""One of so many texts is taken."""


def main(path: Path) -> None:
    texts = [rename(text) for text in make_texts()[::EVERY]]
    file = GgufFile(path)
    names = ("tokens", "scores", "token_type")
    vocabulary = list(zip(*(file.require(f"tokenizer.ggml.{name}") for name in names), strict=True))
    seen = substrings(texts, max(len(token) for token, _, _ in vocabulary))
    kept = [i for i, (token, _, kind) in enumerate(vocabulary) if kind != NORMAL or token in seen]
    new_ids = {old: new for new, old in enumerate(kept)}
    golden: dict[str, Any] = {"vocabulary": [vocabulary[i] for i in kept]}
    for name, adds_space_prefix in (("plain", False), ("space_prefix", True)):
        model = Llama(
            str(path),
            vocab_only=True,
            verbose=False,
            kv_overrides={"tokenizer.ggml.add_space_prefix": adds_space_prefix},
        )
        golden[name] = [
            (text, [new_ids[i] for i in model.tokenize(text.encode(), add_bos=False, special=True)])
            for text in texts
        ]
    content = json.dumps(golden, ensure_ascii=False, separators=(",", ":")).encode()
    OUTPUT.write_bytes(gzip.compress(content, 9, mtime=0))
    size = OUTPUT.stat().st_size
    sys.stderr.write(f"{len(texts)} texts, {len(kept)} tokens, {size} bytes: {OUTPUT}\n")


def rename(text: str) -> str:
    """The special tokens of SmolLM become those of Gemma."""
    for old, new in RENAMED.items():
        text = text.replace(old, new)
    return text


def substrings(texts: list[str], longest: int) -> set[str]:
    """All that llama.cpp may look up."""
    found: set[str] = set()
    for text in texts:
        escaped = text.replace(" ", "▁")
        for start in range(len(escaped)):
            pieces = [escaped[start:stop] for stop in range(start + 1, start + 1 + longest)]
            found.update(pieces)
            found.update("▁" + piece for piece in pieces)
    return found


if __name__ == "__main__":
    with TemporaryDirectory() as folder:
        main(resolve("gemma-3-270m", cache_dir=Path(folder)).path)
