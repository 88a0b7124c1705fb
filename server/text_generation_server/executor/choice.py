"""Chooses and loads the executor that the configuration asks for."""

import hashlib

from tokenizers import Tokenizer

from text_generation_server.config import ServeConfig
from text_generation_server.errors import ConfigError
from text_generation_server.executor.oracle import OracleExecutor, round_trip_words
from text_generation_server.executor.step import Executor
from text_generation_server.models.assets import Assets
from text_generation_server.models.source import ModelSource

CPU_DTYPE = "float32"
"""What "auto" means on a CPU: torch computes the other types slowly there."""


def load_executor(config: ServeConfig, source: ModelSource, assets: Assets) -> Executor:
    """Load the model into its executor. Raises ConfigError or ModelError."""
    if config.model.executor == "oracle":
        return _load_oracle(config, assets)
    if config.engine.num_shard > 1:
        raise ConfigError(
            f"num_shard is {config.engine.num_shard}, but the torch executor runs on one rank"
            " in this version: start with --num-shard 1"
        )
    # Only now: the oracle needs no torch.
    from text_generation_server.executor.torch_executor import load_torch_executor

    dtype = CPU_DTYPE if config.model.dtype == "auto" else config.model.dtype
    engine = config.engine
    return load_torch_executor(
        source, dtype, engine.page_tokens, engine.num_threads, engine.max_total_tokens
    )


def _load_oracle(config: ServeConfig, assets: Assets) -> OracleExecutor:
    tokenizer = Tokenizer.from_str(assets.tokenizer_json.decode())
    try:
        words = round_trip_words(tokenizer)
    except ValueError as error:
        raise ConfigError(str(error)) from error
    return OracleExecutor(
        words,
        tokenizer.get_vocab_size(),
        page_tokens=config.engine.page_tokens,
        fingerprint=hashlib.sha256(assets.tokenizer_json).hexdigest(),
    )
