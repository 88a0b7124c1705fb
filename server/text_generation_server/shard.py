"""One rank of a replica, from configuration to exit: load, size, serve."""

import logging
import signal
import threading
from types import FrameType

from llguidance import LLTokenizer

from text_generation_server._native import PageCache, PagePool, __version__, available_memory_bytes
from text_generation_server.capacity import Capacity, plan_capacity
from text_generation_server.config import GrammarConfig, ServeConfig
from text_generation_server.engine.engine import Engine
from text_generation_server.engine.grammar import GrammarLimits, Grammars
from text_generation_server.engine.loop import EngineLoop
from text_generation_server.errors import ConfigError
from text_generation_server.executor.choice import plan_executor
from text_generation_server.executor.executor_plan import ExecutorPlan
from text_generation_server.executor.step import Executor, ExecutorFacts
from text_generation_server.models.assets import Assets, load_assets
from text_generation_server.models.source import ModelSource, resolve
from text_generation_server.pb import engine_pb2
from text_generation_server.service import PROTOCOL_VERSION, Served, make_server

logger = logging.getLogger(__name__)

EXIT_ENGINE_FAILED = 70
STOP_SECONDS = 5.0
_LISTS = ("eos_token_ids", "assets")


def serve(config: ServeConfig, rank: int) -> int:
    """Run the rank until it is told to stop, or its engine fails. Returns the exit code."""
    source, assets, planned = _plan(config)
    executor = planned.load()
    if config.engine.num_shard > 1:
        # Only now: one rank needs no torch.
        from text_generation_server.executor import ranks

        address = f"{config.engine.master_addr}:{config.engine.master_port}"
        ranks.join_ranks(rank, config.engine.num_shard, address)
        if rank > 0:
            ranks.follow(executor)
            return 0
        executor = ranks.LeadingExecutor(executor)
    return _lead(config, source, assets, executor)


def plan(config: ServeConfig) -> dict[str, object]:
    """What `serve` would serve and in how much memory, from the headers of the model's files.

    Raises as `serve` does, but for weights that are no numbers.
    """
    source, assets, planned = _plan(config)
    facts, available = planned.facts, available_memory_bytes()
    if planned.weight_bytes > available:
        raise ConfigError(
            f"the weights take {planned.weight_bytes} bytes of memory, {available} are available:"
            " free some, or take smaller weights (--quantize)"
        )
    capacity = plan_capacity(facts, config.engine, available - planned.weight_bytes)
    info = _info(source, assets, facts, capacity)
    names = [field.name for field in info.DESCRIPTOR.fields if field.name != "fingerprint"]
    fields = {name: getattr(info, name) for name in names}
    lists = {name: list(value) for name, value in fields.items() if name in _LISTS}
    memory = {
        "kv_tokens": capacity.num_pages * facts.page_tokens,
        "kv_memory_bytes": capacity.num_pages * facts.page_bytes,
        "weight_bytes": planned.weight_bytes,
        "available_memory_bytes": available,
    }
    return fields | lists | memory


def _plan(config: ServeConfig) -> tuple[ModelSource, Assets, ExecutorPlan[Executor]]:
    model = config.model
    source = resolve(model.model_id, model.revision, model.hub_cache, model.cache_dir)
    assets = load_assets(source, model.tokenizer_config_path, model.cache_dir)
    return source, assets, plan_executor(config, source, assets)


def _lead(config: ServeConfig, source: ModelSource, assets: Assets, executor: Executor) -> int:
    facts = executor.facts
    capacity = plan_capacity(facts, config.engine, available_memory_bytes())
    pool = PagePool(capacity.num_pages, facts.page_bytes)
    executor.bind(pool, capacity.limits.step.max_batch_size)
    cache = PageCache(pool, facts.page_tokens, config.engine.prefix_caching)
    stopped = _Stop()
    grammars = _grammars(config.grammar, assets, facts)
    engine = Engine(executor, cache, capacity.limits, grammars=grammars)
    loop = EngineLoop(engine, stopped.fail)
    served = Served(_info(source, assets, facts, capacity), _files(assets))
    server = make_server(f"unix:{config.engine.socket_path(0)}", served, loop)
    loop.start()
    server.start()
    logger.info("serving %s with %d pages", source.model_id, capacity.num_pages)
    exit_code = stopped.wait()
    server.stop(STOP_SECONDS).wait()
    if exit_code == 0:
        loop.stop()
        executor.close()
    return exit_code


def _grammars(config: GrammarConfig, assets: Assets, facts: ExecutorFacts) -> Grammars | None:
    if not config.grammar_support or not assets.eos_token_ids:
        return None
    limits = GrammarLimits(
        max_bytes=config.max_grammar_bytes,
        max_size=config.max_grammar_size,
        max_fuel=config.max_grammar_fuel,
        max_lexer_states=config.max_grammar_lexer_states,
        max_step_items=config.max_grammar_step_items,
    )
    json, eos = assets.tokenizer_json.decode(), list(assets.eos_token_ids)
    vocab_size = facts.vocab_size
    return Grammars(lambda: LLTokenizer(json, vocab_size, eos), vocab_size, limits)


class _Stop:
    """Waits for a signal or for the engine's failure."""

    def __init__(self) -> None:
        self._event = threading.Event()
        self._exit_code = 0
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self._event.set()

    def fail(self) -> None:
        """The engine cannot go on."""
        self._exit_code = EXIT_ENGINE_FAILED
        self._event.set()

    def wait(self) -> int:
        """Block until the end; returns the exit code."""
        self._event.wait()
        return self._exit_code


def _info(
    source: ModelSource, assets: Assets, facts: ExecutorFacts, capacity: Capacity
) -> engine_pb2.EngineInfo:
    limits = capacity.limits
    return engine_pb2.EngineInfo(
        protocol_version=PROTOCOL_VERSION,
        version=__version__,
        model_id=source.model_id,
        model_revision=source.revision,
        fingerprint=facts.fingerprint,
        executor=facts.name,
        device=facts.device,
        hardware=facts.hardware,
        weights=facts.weights,
        kv_dtype=facts.kv_dtype,
        vocab_size=facts.vocab_size,
        max_input_tokens=limits.max_input_tokens,
        max_total_tokens=limits.max_total_tokens,
        page_tokens=facts.page_tokens,
        num_pages=capacity.num_pages,
        page_bytes=facts.page_bytes,
        max_batch_size=limits.step.max_batch_size,
        max_step_tokens=limits.step.max_step_tokens,
        eos_token_ids=assets.eos_token_ids,
        bos_token=assets.bos_token,
        eos_token=assets.eos_token,
        assets=list(_files(assets)),
    )


def _files(assets: Assets) -> dict[str, bytes]:
    """What `Assets` streams, by name."""
    files = {"tokenizer.json": assets.tokenizer_json}
    if assets.chat_template is not None:
        files["chat_template.jinja"] = assets.chat_template.encode()
    return files
