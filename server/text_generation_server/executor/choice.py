"""Chooses the executor that the configuration asks for."""

import hashlib
import importlib.util
import logging

from tokenizers import Tokenizer

from text_generation_server.config import ModelConfig, ServeConfig
from text_generation_server.errors import ConfigError
from text_generation_server.executor.executor_plan import ExecutorPlan
from text_generation_server.executor.native_options import NativeOptions
from text_generation_server.executor.oracle import OracleExecutor, round_trip_words
from text_generation_server.executor.step import Executor
from text_generation_server.models.assets import Assets
from text_generation_server.models.errors import UnsupportedModelError
from text_generation_server.models.hf_config import read_json
from text_generation_server.models.source import ModelSource

logger = logging.getLogger(__name__)

TORCH_DTYPES = ("float32", "float16")
"""Types that only torch computes in."""

DEFAULT_TORCH_DTYPE = "float32"
"""What "auto" means to torch: it computes the other types slowly on a CPU."""

_ASKED_FOR = "it was asked for"
_QUANTIZED_FOLDERS = ("awq", "gptq")


def plan_executor(
    config: ServeConfig, source: ModelSource, assets: Assets
) -> ExecutorPlan[Executor]:
    """The model's executor, from the headers of its files; logs which one it is and why.

    Raises ConfigError or ModelError.
    """
    _check_ranks(config)
    match config.model.executor:
        case "oracle":
            return _plan_oracle(config, assets)
        case "torch":
            return _plan_torch(config, source, _ASKED_FOR)
        case "native":
            return _plan_native(config, source, _ASKED_FOR)
        case _:
            return _plan_best(config, source)


def _plan_best(config: ServeConfig, source: ModelSource) -> ExecutorPlan[Executor]:
    # Also on a machine with a GPU: no executor uses it yet, and on a CPU native is far ahead.
    dtype = config.model.dtype
    if dtype in TORCH_DTYPES:
        return _plan_torch(config, source, f"only torch computes in the dtype {dtype}")
    try:
        return _plan_native(config, source, "it is the fastest on a CPU")
    except UnsupportedModelError as error:
        return _plan_torch(config, source, f"the native executor cannot run the model: {error}")


def _plan_native(config: ServeConfig, source: ModelSource, reason: str) -> ExecutorPlan[Executor]:
    # Only now: the other executors need none of it.
    from text_generation_server.executor.native_executor import plan_native_executor

    plan = plan_native_executor(source, _native_options(config, source))
    _announce("native", reason)
    return plan


def _native_options(config: ServeConfig, source: ModelSource) -> NativeOptions:
    model, engine = config.model, config.engine
    return NativeOptions(
        weights=_native_weights(model, source),
        kv_dtype="bf16" if model.kv_cache_dtype == "auto" else model.kv_cache_dtype,
        page_tokens=engine.page_tokens,
        num_threads=engine.num_threads,
        max_total_tokens=engine.max_total_tokens,
        cache_dir=model.cache_dir,
    )


def _native_weights(model: ModelConfig, source: ModelSource) -> str | None:
    if model.dtype == "bfloat16":
        return "bf16"
    if model.quantize not in _QUANTIZED_FOLDERS:
        return model.quantize
    method = _quant_method(source)
    if method != model.quantize:
        raise ConfigError(
            f"quantize is {model.quantize}, but the model's own quant_method is {method}: leave"
            " out --quantize, or give int8 or int4 to quantize at load"
        )
    return None


def _quant_method(source: ModelSource) -> object:
    """What a folder's config.json says about its weights; None when it says nothing."""
    if source.is_gguf:
        return None
    quantization = read_json(source.path / "config.json").get("quantization_config")
    return quantization.get("quant_method") if isinstance(quantization, dict) else None


def _plan_torch(config: ServeConfig, source: ModelSource, reason: str) -> ExecutorPlan[Executor]:
    model, engine = config.model, config.engine
    _require_torch(reason)
    dtype = DEFAULT_TORCH_DTYPE if model.dtype == "auto" else model.dtype
    own_kv = ("auto", "bf16") if dtype == "bfloat16" else ("auto",)
    if model.quantize is not None or model.kv_cache_dtype not in own_kv:
        raise ConfigError(
            f"the torch executor is needed ({reason}), but it quantizes nothing and keeps keys and"
            f" values in the weights' type, while quantize is {model.quantize or 'none'} and"
            f" kv_cache_dtype {model.kv_cache_dtype}: leave out --quantize and --kv-cache-dtype"
        )
    _announce("torch", reason)
    # Only now: it takes seconds to import.
    from text_generation_server.executor.torch_executor import plan_torch_executor

    return plan_torch_executor(
        source, dtype, engine.page_tokens, engine.num_threads, engine.max_total_tokens
    )


def _plan_oracle(config: ServeConfig, assets: Assets) -> ExecutorPlan[Executor]:
    tokenizer = Tokenizer.from_str(assets.tokenizer_json.decode())
    try:
        words = round_trip_words(tokenizer)
    except ValueError as error:
        raise ConfigError(str(error)) from error
    _announce("oracle", _ASKED_FOR)
    executor = OracleExecutor(
        words,
        tokenizer.get_vocab_size(),
        page_tokens=config.engine.page_tokens,
        fingerprint=hashlib.sha256(assets.tokenizer_json).hexdigest(),
    )
    return ExecutorPlan(executor.facts, weight_bytes=0, load=lambda: executor)


def _check_ranks(config: ServeConfig) -> None:
    num_shard = config.engine.num_shard
    if num_shard == 1:
        return
    if config.model.executor != "oracle":
        raise ConfigError(
            f"num_shard is {num_shard}, but only the oracle executor runs on several ranks in this"
            " version: start with --num-shard 1"
        )
    _require_torch(f"{num_shard} ranks talk to each other through it")


def _require_torch(reason: str) -> None:
    # Looked for, not imported: that takes seconds.
    if importlib.util.find_spec("torch") is None:
        raise ConfigError(
            f"torch is needed ({reason}), but it is not installed: run"
            " `pip install 'text-generation-server[torch]'`"
        )


def _announce(name: str, reason: str) -> None:
    logger.info("the %s executor runs the model: %s", name, reason)
