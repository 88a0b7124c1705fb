"""How the native executor is to run a model."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class NativeOptions:
    """What the operator decided; the rest is the executor's choice."""

    weights: str | None = None
    """"bf16", "int8" or "int4"; None: what the source is."""
    kv_dtype: str = "bf16"
    """"bf16" or "int8"."""
    page_tokens: int | None = None
    """Tokens in a KV page."""
    num_threads: int | None = None
    """Compute threads; None: the cores this process may use."""
    max_total_tokens: int | None = None
    """Longest sequence that will be asked for: fixes the rope's scaling where it depends on it.
    None: the model's own context."""
    cache_dir: Path | None = None
    """Folder for packed weights; None: they are packed anew at every start."""
