"""How near decoding comes to what the machine's memory allows."""

import statistics
from dataclasses import dataclass

from text_generation_server.models.spec import DecoderSpec

from peers.measure import Outcome, Row
from peers.scenarios import TURN_TOKENS

_CELL_BYTES = {"f32": 4, "f16": 2, "bf16": 2, "u8": 1, "int8": 1}


@dataclass(frozen=True)
class KvShape:
    """Cells that one token has in all layers' keys and values."""

    cells: int

    @classmethod
    def of(cls, spec: DecoderSpec) -> "KvShape":
        """Of a model."""
        return cls(2 * spec.num_layers * spec.num_kv_heads * spec.head_dim)


def share_of_memory_limit(outcome: Outcome, row: Row, shape: KvShape) -> float | None:
    """Bytes that decoding must read a second, weights and KV, as a share of the memory's speed.

    Scales of int8 KV are not counted, and caches can lift the share above one. None for scenarios
    that are bound by arithmetic.
    """
    scenario, variant = outcome.scenario, row.variant
    if scenario.unit != "tokens/s" or scenario.new_tokens == 1 or not outcome.memory_speeds:
        return None
    tokens = scenario.streams * (scenario.context + scenario.new_tokens / 2)
    if "shared" in scenario.tags:
        own = TURN_TOKENS + scenario.new_tokens / 2
        tokens = scenario.context + scenario.streams * own
    step_bytes = variant.weight_bytes + tokens * shape.cells * _CELL_BYTES[variant.kv]
    steps = statistics.median(row.figures) / scenario.streams
    return step_bytes * steps / 1e9 / statistics.median(outcome.memory_speeds)
