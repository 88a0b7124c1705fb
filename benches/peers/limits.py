"""How near an engine comes to the machine's own limits.

The shortest time of a run is the longer of two: reading what must be read (weights and KV, at the
speed of memory), and computing what must be computed (products by the dot instruction of the
weights' type, attention by that of bfloat16). What the formats cost beside that (scales, norms,
softmax) is not in it, and caches can lift the share of memory above one.
"""

import statistics
from dataclasses import dataclass

from text_generation_server.models.spec import DecoderSpec

from peers.machine import Limits
from peers.measure import Outcome, Row
from peers.scenarios import TURN_TOKENS, Scenario, decode_rate, prefill_rate

_CELL_BYTES = {"f32": 4, "f16": 2, "bf16": 2, "u8": 1, "int8": 1}
_SIXTEEN_BIT = ("F16", "bf16")


@dataclass(frozen=True)
class Shape:
    """What a model's work depends on."""

    kv_cells: int
    """Of one token: keys and values of all layers."""
    head_cells: int
    """Of one token: queries of all layers."""
    products: int
    """Weights that a token of a prompt is multiplied with."""
    head: int
    """Weights of the head, which only tokens that are answered with need."""

    @classmethod
    def of(cls, spec: DecoderSpec) -> "Shape":
        """Of a model."""
        head = spec.vocab_size * spec.hidden_size
        width, intermediate = spec.hidden_size, spec.intermediate_size
        heads = 2 * spec.num_heads + 2 * spec.num_kv_heads
        layer = width * heads * spec.head_dim + 3 * width * intermediate
        return cls(
            kv_cells=2 * spec.num_layers * spec.num_kv_heads * spec.head_dim,
            head_cells=spec.num_layers * spec.num_heads * spec.head_dim,
            products=spec.num_layers * layer,
            head=head,
        )


def share_of_limit(outcome: Outcome, row: Row, shape: Shape) -> float | None:
    """The least time over the time it took; None for scenarios that have no simple limit."""
    if not outcome.limits:
        return None
    scenario, median = outcome.scenario, statistics.median(row.figures)
    limits = Limits(
        memory=statistics.median(limit.memory for limit in outcome.limits),
        bf16=statistics.median(limit.bf16 for limit in outcome.limits),
        int8=statistics.median(limit.int8 for limit in outcome.limits),
    )
    if scenario.figure is decode_rate:
        return _decode_seconds(scenario, row, shape, limits) * median / scenario.streams
    if scenario.figure is prefill_rate:
        return _prefill_seconds(scenario, row, shape, limits) * median / scenario.context
    return None


def _decode_seconds(scenario: Scenario, row: Row, shape: Shape, limits: Limits) -> float:
    """Of one step."""
    own = scenario.context + scenario.new_tokens / 2
    attended = scenario.streams * own
    read = attended
    if "shared" in scenario.tags:
        read = scenario.context + scenario.streams * (TURN_TOKENS + scenario.new_tokens / 2)
    kv_bytes = read * shape.kv_cells * _CELL_BYTES[row.variant.kv]
    memory = (row.variant.weight_bytes + kv_bytes) / limits.memory
    products = 2 * scenario.streams * (shape.products + shape.head) / _peak(row, limits)
    attention = 4 * attended * shape.head_cells / limits.bf16
    return max(memory, products + attention) / 1e9


def _prefill_seconds(scenario: Scenario, row: Row, shape: Shape, limits: Limits) -> float:
    """Of a whole prompt; a token attends to half of it on average."""
    tokens = scenario.context
    products = 2 * (tokens * shape.products + shape.head) / _peak(row, limits)
    attention = 4 * tokens * (tokens / 2) * shape.head_cells / limits.bf16
    return (products + attention) / 1e9


def _peak(row: Row, limits: Limits) -> float:
    return limits.bf16 if row.variant.weights in _SIXTEEN_BIT else limits.int8
