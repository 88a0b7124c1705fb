"""The parts of the benches against peers, with an engine whose times are known."""

import sys
from dataclasses import replace
from pathlib import Path

import pytest
from peers.adapters.wire import Settings
from peers.engines import Variant
from peers.limits import Shape
from peers.machine import Limits
from peers.measure import Meter
from peers.process import EngineError, EngineProcess
from peers.prompts import Prompt, PromptSource
from peers.scenarios import SCENARIOS, Scenario, decode_rate, prefill_rate
from peers.table import as_json, render
from text_generation_server.models.embedded import EMBEDDED_MODEL
from text_generation_server.models.source import resolve

COMMAND = (sys.executable, str(Path(__file__).parent / "fake_engine.py"))
SETTINGS = Settings(model="", threads=1, streams=2, stream_tokens=64, options={"slow": 1.0})


LIMITS = Limits(memory=10.0, bf16=100.0, int8=200.0)


def scenario(name: str) -> Scenario:
    return next(scenario for scenario in SCENARIOS if scenario.name == name)


class FakeKind:
    """An engine with a variant for each slowness."""

    def __init__(self, name: str, *slow: float) -> None:
        self.name = name
        self._slow = slow

    def install(self) -> None:
        """There already."""

    def variants(self, _scenario: Scenario) -> list[Variant]:
        return [
            Variant(
                engine=self.name,
                weights=f"slow {slow}",
                kv="f16",
                weight_bytes=1e9,
                note="",
                command=COMMAND,
                settings=replace(SETTINGS, options={"slow": slow}),
            )
            for slow in self._slow
        ]


@pytest.fixture(scope="module")
def source() -> PromptSource:
    return PromptSource(resolve(EMBEDDED_MODEL))


def test_decoding_counts_only_while_all_streams_decode() -> None:
    early, late = [1.0, 2.0, 3.0, 4.0], [2.0, 3.0, 4.0, 5.0]
    assert decode_rate([], [early, late]) == 2.0


def test_prefill_is_prompt_tokens_over_the_first_tokens_time() -> None:
    assert prefill_rate([Prompt("", [0] * 500)], [[0.25]]) == 2000.0


def test_times_are_better_when_shorter_and_rates_when_higher() -> None:
    assert scenario("turn-7000").ratio(10.0, 20.0) == 2.0
    assert scenario("decode-1-512").ratio(20.0, 10.0) == 2.0


def test_prompts_have_the_asked_length_as_text_too(source: PromptSource) -> None:
    prompt = source.draw(100) + source.draw(20)
    assert len(prompt.tokens) == len(prompt.text.split()) == 120
    assert source.draw(100).tokens[:8] != prompt.tokens[:8]


def test_a_process_answers_runs_though_its_library_prints() -> None:
    process = EngineProcess(COMMAND, SETTINGS)
    arrivals = process.run([Prompt("", [1]), Prompt("", [2])], 2)
    process.close()
    assert process.facts == {"version": "0"}
    assert arrivals == [[1.0, 2.0], [2.0, 3.0]]


def test_a_process_that_ends_says_why() -> None:
    with pytest.raises(EngineError, match="there is no such model"):
        EngineProcess(COMMAND, replace(SETTINGS, model="absent"))
    process = EngineProcess(COMMAND, SETTINGS)
    with pytest.raises(EngineError, match="13 tokens are not supported"):
        process.run([Prompt("", [0] * 13)], 1)
    process.close()


def test_the_table_compares_the_best_variant_of_each(source: PromptSource) -> None:
    engines = [FakeKind("ours", 0.5), FakeKind("theirs", 4.0, 2.0), FakeKind("others", 3.0)]
    meter = Meter(engines, source, rounds=3, limits=lambda: LIMITS)
    outcome = meter.measure(scenario("prefill-512"))
    theirs = outcome.rows[1]
    assert theirs.variant.weights == "slow 2.0"
    assert theirs.tried == {"slow 4.0": 128.0, "slow 2.0": 256.0}
    assert theirs.figures == [256.0] * 3
    table = render([outcome], {"ours"}, Shape(0, 0, 0, 0))
    assert "| ours | slow 0.5 | f16 | tokens/s | 1,024 | 0% | 4.00 x |" in table
    assert as_json(outcome)["scenario"] == "prefill-512"


def test_alike_scenarios_keep_the_choice_of_weights(source: PromptSource) -> None:
    meter = Meter([FakeKind("theirs", 4.0, 2.0)], source, rounds=1, limits=lambda: LIMITS)
    meter.measure(scenario("prefill-512"))
    later = meter.measure(scenario("prefill-2000"))
    assert list(later.rows[0].tried) == ["slow 2.0"]


def test_an_engine_that_fails_is_a_note_and_the_others_go_on(source: PromptSource) -> None:
    broken = replace(scenario("prefill-512"), context=13)
    meter = Meter([FakeKind("theirs", 1.0)], source, rounds=1, limits=lambda: LIMITS)
    outcome = meter.measure(broken)
    assert outcome.rows == []
    assert "13 tokens are not supported" in outcome.notes[0]


@pytest.mark.parametrize(
    ("name", "shape", "share"),
    [
        # A step a second reads 1 GB of weights, where the memory gives 10.
        ("decode-1-512", Shape(0, 0, 0, 0), "10%"),
        # And as much of KV: 544 tokens, 2 bytes a cell.
        ("decode-1-512", Shape(10**9 // 1088, 0, 0, 0), "20%"),
        # 512 prompt tokens a second, each 0.1 billion operations, where 200 are possible.
        ("prefill-512", Shape(0, 0, 5 * 10**7, 0), "26%"),
    ],
)
def test_engines_are_held_against_the_machine(
    name: str, shape: Shape, share: str, source: PromptSource
) -> None:
    meter = Meter([FakeKind("ours", 1.0)], source, rounds=1, limits=lambda: LIMITS)
    outcome = meter.measure(scenario(name))
    assert f"| {share} |" in render([outcome], {"ours"}, shape)
