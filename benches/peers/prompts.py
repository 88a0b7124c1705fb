"""Prompts of an exact number of tokens, the same tokens for every engine."""

import random
import re
from dataclasses import dataclass

from text_generation_server.models.assets import load_assets
from text_generation_server.models.source import ModelSource
from tokenizers import Tokenizer

# A byte-level vocabulary writes a space as U+0120.
_WORD = re.compile("\u0120([a-z]{3,8})")
_NUM_WORDS = 1024


@dataclass(frozen=True)
class Prompt:
    """A prompt as text, which servers take, and as tokens, which libraries take."""

    text: str
    tokens: list[int]

    def __add__(self, other: "Prompt") -> "Prompt":
        return Prompt(self.text + other.text, self.tokens + other.tokens)


class PromptSource:
    """Draws prompts of words that are one token each, whatever stands before them."""

    def __init__(self, source: ModelSource, seed: int = 0) -> None:
        """Raises ModelError, and ValueError for a tokenizer with too few such words."""
        tokenizer = Tokenizer.from_str(load_assets(source).tokenizer_json.decode())
        self._words = sorted(_words(tokenizer))[:_NUM_WORDS]
        if len(self._words) < _NUM_WORDS:
            raise ValueError(
                f"{source.model_id} has {len(self._words)} words of one token, {_NUM_WORDS} needed"
            )
        self._random = random.Random(seed)

    def draw(self, num_tokens: int) -> Prompt:
        """The next prompt; no two begin alike but by a chance of one in a million."""
        chosen = self._random.choices(self._words, k=num_tokens)
        return Prompt("".join(word for _, word in chosen), [token for token, _ in chosen])


def _words(tokenizer: Tokenizer) -> list[tuple[int, str]]:
    vocabulary = sorted(tokenizer.get_vocab().items(), key=lambda entry: entry[1])
    texts = (
        (token, f" {found[1]}") for name, token in vocabulary if (found := _WORD.fullmatch(name))
    )
    return [
        (token, text)
        for token, text in texts
        if tokenizer.encode(text, add_special_tokens=False).ids == [token]
    ]
