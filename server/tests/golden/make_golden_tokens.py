"""Writes golden_tokens.json.gz: by pre-tokenizer, texts and the ids that llama.cpp gives them.

Needs llama-cpp-python, which compiles llama.cpp for minutes (`pip install llama-cpp-python`), and
the embedded model's package.
"""

import gzip
import json
import random
import sys
import unicodedata
from collections.abc import Callable
from pathlib import Path

from llama_cpp import Llama
from text_generation_server.models.embedded import EMBEDDED_MODEL
from text_generation_server.models.source import resolve

OUTPUT = Path(__file__).with_name("golden_tokens.json.gz")
PER_KIND = 90

WORDS = (
    "the server's answer isn't what we've asked for, they'll say I'd rather don't; it's HE'S WE'LL "
    "naïve façade Ærøskøbing straße señor 東京 中文字符 한국어 ไทย हिन्दी தமிழ் Ελλάδα Москва Київ "
    "supercalifragilisticexpialidocious antidisestablishmentarianism x y zz KV prefill decode"
).split()
RTL = "שלום עולם مرحبا بالعالم کتاب خانه اَلسَّلَامُ בְּרֵאשִׁית ١٢٣٤ ۵۶۷ پارسی ‏ ‎".split()
BLANKS = [" ", "  ", "\t", "\n", "\r\n", "\r", "\n\n\n", "\u00a0", "\u2003", "\u3000", "\u200b"]
EMOJI = "😀 👍🏽 👩‍👩‍👧‍👦 🇩🇪 🏳️‍🌈 1️⃣ ❤️ ☃ 🧑🏿‍🚀 ✈️ 🫠 ™ ©".split()
SPECIAL = (
    "<|endoftext|> <|im_start|> <|im_end|> <repo_name> <reponame> <file_sep> <filename> <gh_stars> "
    "<issue_start> <issue_comment> <issue_closed> <jupyter_start> <jupyter_text> <jupyter_code> "
    "<jupyter_output> <jupyter_script> <empty_output> <|im_end| |im_start|> <> <|>"
).split()
CODE = [
    'def f(x: int) -> str:\n    return f"{x!r:>10}"\n',
    "for (int i = 0; i < n; ++i) {\n\ta[i] += b[i] * 0x1F;\n}\n",
    "SELECT count(*) FROM t WHERE id >= 42 AND name LIKE '%x_%';",
    'fn main() { println!("{:?}", vec![1, 2, 3].iter().map(|x| x * 2)); }',
    '<div class="a b">&nbsp;{{ value }}</div><!-- note -->',
    "$ git commit -m 'fix: #123' && ls -la | grep '^d' > /dev/null 2>&1",
    "\\begin{align}\\frac{1}{2}x^2 + \\alpha_{i,j}\\end{align}",
    '{"key": [1.5e-10, null, true], "s": "\\u00e9\\n"}',
    "    # indented\n        pass\n\n\n\treturn None",
    "https://example.com/a/b?c=d&e=%20#frag 192.168.0.1:8080 user@host.org",
]


def digits(rng: random.Random) -> str:
    run = "".join(rng.choices("0123456789", k=rng.randint(1, 24)))
    return rng.choice(
        ["{}", " {}", "a{}b", "-{}", "{}.5", "{},000", "v{} ", "²{}½", "x {} \n{}"]
    ).format(run, run)


def blanks(rng: random.Random) -> str:
    pieces = [rng.choice(BLANKS) * rng.randint(1, 9), rng.choice(["", *WORDS, "7", "!"])]
    return "".join(rng.sample(pieces, 2) + rng.choices(BLANKS, k=rng.randint(0, 4)))


def prose(rng: random.Random) -> str:
    words = rng.choices(WORDS, k=rng.randint(1, 30))
    return "".join(word + rng.choice([" ", " ", " ", ", ", ". ", "-", "\n"]) for word in words)


def code(rng: random.Random) -> str:
    return rng.choice(["", " ", "\n"]).join(rng.choices(CODE, k=rng.randint(1, 3)))


def emoji(rng: random.Random) -> str:
    return rng.choice(["", " "]).join(rng.choices([*EMOJI, "ok", "9"], k=rng.randint(1, 8)))


def right_to_left(rng: random.Random) -> str:
    return rng.choice([" ", " ", "\n", ""]).join(
        rng.choices([*RTL, "abc", "12"], k=rng.randint(1, 12))
    )


def special(rng: random.Random) -> str:
    pieces = rng.choices(
        [*SPECIAL, *SPECIAL, "user\n", " text", "3", "\n", " "], k=rng.randint(1, 7)
    )
    return "".join(pieces)


def chat(rng: random.Random) -> str:
    turns = [
        (rng.choice(["system", "user", "assistant"]), prose(rng)) for _ in range(rng.randint(1, 4))
    ]
    return "".join(f"<|im_start|>{role}\n{text}<|im_end|>\n" for role, text in turns)


def ascii_noise(rng: random.Random) -> str:
    return "".join(chr(rng.randint(1, 126)) for _ in range(rng.randint(1, 60)))


def unicode_noise(rng: random.Random) -> str:
    characters: list[str] = []
    while len(characters) < 20:
        character = chr(rng.choice([rng.randrange(0x80, 0x3000), rng.randrange(0x3000, 0x20000)]))
        # Unassigned and private code points: the two sides' Unicode tables are of different age.
        if unicodedata.category(character) not in ("Cn", "Co", "Cs"):
            characters.append(character)
    return "".join(characters)


def repeats(rng: random.Random) -> str:
    return rng.choice([*WORDS, *EMOJI, " ", "\n", "0", "=", "-", "ab ", "\t\n"]) * rng.randint(
        2, 70
    )


def mixture(rng: random.Random) -> str:
    return "".join(rng.choice(KINDS[:-1])(rng) for _ in range(3))


KINDS: list[Callable[[random.Random], str]] = [
    digits,
    blanks,
    prose,
    code,
    emoji,
    right_to_left,
    special,
    chat,
    ascii_noise,
    unicode_noise,
    repeats,
    mixture,
]


def make_texts() -> list[str]:
    """More than 1,000 different texts, the same on every run."""
    rng = random.Random("golden tokens")
    texts = ["", *WORDS, *RTL, *BLANKS, *EMOJI, *SPECIAL, *CODE]
    texts += [kind(rng) for kind in KINDS for _ in range(PER_KIND)]
    return list(dict.fromkeys(texts))


def tokenize(model_path: str, pre_tokenizer: str, texts: list[str]) -> list[list[int]]:
    """Ids by llama.cpp with the file's vocabulary; special tokens are parsed, nothing is added."""
    override = {"tokenizer.ggml.pre": pre_tokenizer}
    model = Llama(model_path, vocab_only=True, verbose=False, kv_overrides=override)
    return [model.tokenize(text.encode(), add_bos=False, special=True) for text in texts]


def main(model_path: str) -> None:
    """All texts by the file's own pre-tokenizer, every third by each of the others."""
    texts = make_texts()
    golden = {"smollm": list(zip(texts, tokenize(model_path, "smollm", texts), strict=True))}
    for name in ("gpt-2", "llama-bpe", "qwen2"):
        golden[name] = list(zip(texts[::3], tokenize(model_path, name, texts[::3]), strict=True))
    content = json.dumps(golden, ensure_ascii=False, separators=(",", ":")).encode()
    OUTPUT.write_bytes(gzip.compress(content, 9, mtime=0))
    sys.stderr.write(f"{len(texts)} texts, {OUTPUT.stat().st_size} bytes: {OUTPUT}\n")


if __name__ == "__main__":
    main(str(resolve(EMBEDDED_MODEL).path))
