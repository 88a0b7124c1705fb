"""What is measured: which prompts are computed beforehand, which are timed, and the figure."""

from collections.abc import Callable
from dataclasses import dataclass, field

from peers.adapters.wire import Arrivals
from peers.prompts import Prompt, PromptSource

TURN_TOKENS = 32
"""New tokens of a turn, and of the own part of a prompt that shares its beginning."""


@dataclass(frozen=True)
class Workload:
    """A scenario with its prompts drawn: what each engine is asked for, in this order."""

    prepared: list[list[Prompt]]
    """Runs that are not timed; engines keep what they computed."""
    timed: Callable[[int], list[Prompt]]
    """Prompts of the timed run of a round."""
    new_tokens: int


@dataclass(frozen=True)
class Scenario:
    """One line of the table."""

    name: str
    title: str
    unit: str
    streams: int
    context: int
    new_tokens: int
    draw: Callable[["Scenario", PromptSource], Workload]
    figure: Callable[[list[Prompt], Arrivals], float]
    like: str | None = None
    """The scenario whose choice of weights holds here too, where that one was measured."""
    tags: frozenset[str] = field(default=frozenset())

    @property
    def higher_is_better(self) -> bool:
        """Whether the figure is a rate rather than a time."""
        return self.unit == "tokens/s"

    @property
    def stream_tokens(self) -> int:
        """Most tokens of one sequence, with room for the warm-up's."""
        return self.context + 2 * TURN_TOKENS + self.new_tokens + 64

    def ratio(self, ours: float, theirs: float) -> float:
        """How many times better `ours` is."""
        return ours / theirs if self.higher_is_better else theirs / ours


def decode_rate(_prompts: list[Prompt], arrivals: Arrivals) -> float:
    """Tokens a second of all streams together, while all of them decode."""
    begin = max(times[0] for times in arrivals)
    end = min(times[-1] for times in arrivals)
    tokens = sum(begin < at <= end for times in arrivals for at in times)
    return tokens / (end - begin)


def prefill_rate(prompts: list[Prompt], arrivals: Arrivals) -> float:
    """Prompt tokens a second until the first token of the answer."""
    return len(prompts[0].tokens) / arrivals[0][0]


def first_token_ms(_prompts: list[Prompt], arrivals: Arrivals) -> float:
    """Milliseconds to the first token."""
    return arrivals[0][0] * 1e3


def _separate(scenario: Scenario, source: PromptSource) -> Workload:
    prompts = [source.draw(scenario.context) for _ in range(scenario.streams)]
    return Workload([prompts], lambda _round: prompts, scenario.new_tokens)


def _shared(scenario: Scenario, source: PromptSource) -> Workload:
    history = source.draw(scenario.context)
    prompts = [history + source.draw(TURN_TOKENS) for _ in range(scenario.streams)]
    return Workload([[history], prompts], lambda _round: prompts, scenario.new_tokens)


def _cold(scenario: Scenario, source: PromptSource) -> Workload:
    drawn: dict[int, Prompt] = {}

    def timed(number: int) -> list[Prompt]:
        return [drawn.setdefault(number, source.draw(scenario.context))]

    return Workload([], timed, scenario.new_tokens)


def _turn(scenario: Scenario, source: PromptSource) -> Workload:
    history = source.draw(scenario.context)
    drawn: dict[int, Prompt] = {}

    def timed(number: int) -> list[Prompt]:
        return [history + drawn.setdefault(number, source.draw(TURN_TOKENS))]

    return Workload([[history]], timed, scenario.new_tokens)


def _decode(streams: int, context: int, new_tokens: int, **more: str) -> Scenario:
    return Scenario(
        f"decode-{streams}-{context}",
        f"decode, {streams} stream{'s' * (streams > 1)}, context {context:,}",
        "tokens/s",
        streams,
        context,
        new_tokens,
        _separate,
        decode_rate,
        more.get("like"),
    )


def _prefill(context: int, like: str | None = None, sixteen_bit: bool = False) -> Scenario:
    return Scenario(
        f"prefill-{context}" + "-16-bit" * sixteen_bit,
        f"prefill {context:,}" + ", 16-bit weights" * sixteen_bit,
        "tokens/s",
        1,
        context,
        1,
        _cold,
        prefill_rate,
        like,
        frozenset({"16-bit"} if sixteen_bit else ()),
    )


SCENARIOS = [
    _decode(1, 512, 64),
    _decode(8, 512, 48),
    _decode(32, 512, 32, like="decode-8-512"),
    _prefill(512),
    _prefill(2000, like="prefill-512"),
    _prefill(2000, sixteen_bit=True),
    _prefill(7000, like="prefill-512"),
    _decode(1, 7000, 48),
    Scenario(
        "turn-7000",
        f"warm turn: {TURN_TOKENS} new tokens on 7,000",
        "ms to first token",
        1,
        7000,
        1,
        _turn,
        first_token_ms,
        like="prefill-512",
    ),
    Scenario(
        "decode-8-shared-7000",
        "decode, 8 streams that share 7,000",
        "tokens/s",
        8,
        7000,
        32,
        _shared,
        decode_rate,
        like="decode-8-512",
        tags=frozenset({"shared"}),
    ),
    _decode(8, 7000, 32, like="decode-8-512"),
]
QUICK = ["decode-1-512", "decode-8-512", "prefill-512", "prefill-2000"]
"""Scenarios of a quick run."""
