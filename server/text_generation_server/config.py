"""The shard's view of `ServeConfig`: the JSON file that the launcher wrote, as frozen values.

The Rust side (router/src/config.rs) owns the schema; unknown or missing keys are errors, so that
the two cannot drift apart unnoticed.
"""

import json
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Self

from text_generation_server.errors import ConfigError


def _from_json(cls: type, section: str, values: dict[str, Any]) -> dict[str, Any]:
    """Check the keys of one section against the fields of its dataclass."""
    names = {field.name for field in fields(cls)}
    unknown, missing = sorted(values.keys() - names), sorted(names - values.keys())
    if unknown or missing:
        raise ConfigError(
            f"section {section!r} of the configuration has unknown keys {unknown} and lacks"
            f" {missing}: launcher and shard are of different versions; install both anew"
        )
    return values


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """The model and the way to run it."""

    model_id: str
    revision: str | None
    executor: str
    """"auto", "native", "torch" or "oracle"."""
    dtype: str
    """"auto", "float32", "bfloat16" or "float16"."""
    quantize: str | None
    """"int8", "int4", "awq" or "gptq"; None: as the source is."""
    kv_cache_dtype: str
    """"auto", "bf16" or "int8"."""
    tokenizer_config_path: Path | None
    hub_cache: Path | None
    cache_dir: Path | None
    """Folder for packed weights and tokenizers; None: nothing is kept."""

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Self:
        values = _from_json(cls, "model", values)
        for name in ("tokenizer_config_path", "hub_cache", "cache_dir"):
            values = values | {name: Path(values[name]) if values[name] else None}
        return cls(**values)


@dataclass(frozen=True, slots=True)
class EngineConfig:
    """How the shards compute. None means: decided from model and machine."""

    run_dir: Path
    num_shard: int
    master_addr: str
    master_port: int
    max_input_tokens: int | None
    max_total_tokens: int | None
    max_batch_size: int
    max_batch_prefill_tokens: int
    max_batch_total_tokens: int | None
    kv_memory_bytes: int | None
    prefix_caching: bool
    page_tokens: int | None
    num_threads: int | None

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Self:
        values = _from_json(cls, "engine", values)
        return cls(**values | {"run_dir": Path(values["run_dir"])})

    def socket_path(self, rank: int) -> Path:
        """The Unix socket on which a rank answers."""
        return self.run_dir / f"shard-{rank}.sock"


@dataclass(frozen=True, slots=True)
class GrammarConfig:
    """Whether answers can be made to follow a grammar, and bounds on grammars."""

    grammar_support: bool
    max_grammar_bytes: int
    max_grammar_compile_ms: int
    max_grammar_size: int
    max_grammar_fuel: int
    max_grammar_lexer_states: int
    max_grammar_step_items: int
    grammar_cache_bytes: int

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Self:
        return cls(**_from_json(cls, "grammar", values))


@dataclass(frozen=True, slots=True)
class ServeConfig:
    """What a shard reads of the server's configuration."""

    model: ModelConfig
    engine: EngineConfig
    grammar: GrammarConfig

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read the file. Raises ConfigError when it is missing, malformed or of another version."""
        try:
            values = json.loads(path.read_text())
            model, engine, grammar = values["model"], values["engine"], values["grammar"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ConfigError(f"cannot read the configuration {path}: {error!r}") from error
        return cls(
            ModelConfig.from_json(model),
            EngineConfig.from_json(engine),
            GrammarConfig.from_json(grammar),
        )
