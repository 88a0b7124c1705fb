"""How many pages the pool gets and what limits follow from it."""

from dataclasses import dataclass

from text_generation_server.config import EngineConfig
from text_generation_server.engine.admission import EngineLimits
from text_generation_server.engine.scheduler import SchedulerLimits
from text_generation_server.errors import ConfigError
from text_generation_server.executor.step import ExecutorFacts

KV_SHARE = 0.5
"""Share of the available memory that the pool may reserve."""

SPARE_PAGES = 2
"""Pages beside those of the longest sequence: one it copies from, and one it holds twice."""


@dataclass(frozen=True, slots=True)
class Capacity:
    """The pool's size and the bounds on requests and steps."""

    num_pages: int
    limits: EngineLimits


def plan_capacity(facts: ExecutorFacts, config: EngineConfig, memory_bytes: int) -> Capacity:
    """Size the pool and settle the limits. memory_bytes: what is available beside the weights.

    Raises ConfigError when they cannot be met together.
    """
    num_pages = _num_pages(facts, config, memory_bytes)
    pool_tokens = (num_pages - SPARE_PAGES) * facts.page_tokens
    longest = min(facts.context_length, pool_tokens)
    total = longest if config.max_total_tokens is None else config.max_total_tokens
    if total > facts.context_length:
        raise ConfigError(
            f"max_total_tokens is {total}, the model's context is {facts.context_length}: lower it"
        )
    if total > pool_tokens or total < 2:
        raise ConfigError(
            f"max_total_tokens is {total}, the KV memory holds {max(pool_tokens, 0)} tokens:"
            " lower it, or give more by --kv-memory or --max-batch-total-tokens"
        )
    longest_input = config.max_input_tokens or total - 1
    if longest_input >= total:
        raise ConfigError(
            f"max_input_tokens is {longest_input}, which leaves no room for an answer below"
            f" max_total_tokens of {total}"
        )
    step = SchedulerLimits(config.max_batch_size, config.max_batch_prefill_tokens)
    return Capacity(num_pages, EngineLimits(longest_input, total, step))


def _num_pages(facts: ExecutorFacts, config: EngineConfig, memory_bytes: int) -> int:
    tokens = config.max_batch_total_tokens
    if tokens is None and config.kv_memory_bytes is None:
        tokens = facts.default_kv_tokens
    if tokens is not None:
        return -(-tokens // facts.page_tokens) + SPARE_PAGES
    memory = config.kv_memory_bytes or int(memory_bytes * KV_SHARE)
    return memory // facts.page_bytes
