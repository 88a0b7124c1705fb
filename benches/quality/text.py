"""The text that is scored: Jules Verne's Around the World in Eighty Days, which a crate ships."""

import json
import subprocess
from pathlib import Path

from text_generation_server.models.assets import load_assets
from text_generation_server.models.source import ModelSource
from tokenizers import Tokenizer

_CRATE = "esaxx-rs"
_FILE = Path("data") / "eighty.txt"


def windows(source: ModelSource, num_windows: int, window_tokens: int) -> list[list[int]]:
    """The beginning of the text as token ids, cut into windows that are scored each by itself.

    Each starts with what the model's tokenizer puts before a text, if anything. Raises ModelError,
    FileNotFoundError without the crate's sources, and ValueError for a text that is too short.
    """
    tokenizer = Tokenizer.from_str(load_assets(source).tokenizer_json.decode())
    opening = tokenizer.encode("").ids
    tokens = tokenizer.encode(_path().read_text(), add_special_tokens=False).ids
    size = window_tokens - len(opening)
    if len(tokens) < num_windows * size:
        raise ValueError(f"the text has {len(tokens)} tokens, {num_windows * size} are asked for")
    return [opening + tokens[i * size : (i + 1) * size] for i in range(num_windows)]


def _path() -> Path:
    """Where cargo keeps the text; the crate is a dependency of the router."""
    metadata = subprocess.run(
        ["cargo", "metadata", "--format-version", "1", "--locked"],
        cwd=Path(__file__).parent,
        stdout=subprocess.PIPE,
        check=True,
    )
    packages = json.loads(metadata.stdout)["packages"]
    manifests = [Path(p["manifest_path"]) for p in packages if p["name"] == _CRATE]
    if not manifests:
        raise FileNotFoundError(f"no crate depends on {_CRATE} any more, whose text is scored")
    return manifests[0].parent / _FILE
