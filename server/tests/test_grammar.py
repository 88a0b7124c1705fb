"""Answers that follow a grammar, on the oracle: what may be drawn, and what becomes of the rest."""

import json
import re
import string
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from engine_harness import (
    VOCAB_SIZE,
    Bench,
    Shape,
    expected_greedy,
    make_request,
    prompt,
)
from llguidance import LLTokenizer
from native_decoder import make_executor
from text_generation_server._native import SamplingParams
from text_generation_server.engine.grammar import Constraint, GrammarLimits, Grammars
from text_generation_server.engine.request import ErrorCode, FinishReason, Request
from text_generation_server.executor.step import Executor
from text_generation_server.executor.torch_executor import load_torch_executor
from text_generation_server.models.source import resolve
from tiny_models import make_tiny_llama

EOS = 0
TEXTS = ["", *string.digits, *string.ascii_lowercase, *'{}[]":,.-+', *string.ascii_uppercase]
TEXTS = TEXTS[:VOCAB_SIZE]
LIMITS = GrammarLimits(65_536, 100_000, 1_000_000, 10_000, 20_000)


def tokenizer(vocab_size: int = VOCAB_SIZE) -> LLTokenizer:
    """One character a token; id 0 ends a text."""
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False}
    end = {"id": EOS, "content": "</s>", "special": True, "single_word": False}
    end |= {"lstrip": False, "rstrip": False, "normalized": False}
    vocab = {text: i for i, text in enumerate(TEXTS) if i != EOS}
    model = {"type": "BPE", "vocab": vocab | {"</s>": EOS}, "merges": []}
    description = {"added_tokens": [end], "pre_tokenizer": byte_level, "decoder": byte_level}
    return LLTokenizer(json.dumps(description | {"model": model}), vocab_size, [EOS])


def lark(source: str) -> str:
    return json.dumps({"grammars": [{"lark_grammar": source}]})


def regex(expression: str) -> str:
    return lark(f"start: /{expression}/")


def schema(value: Any) -> str:
    return json.dumps({"grammars": [{"json_schema": value}]})


def text(ids: list[int]) -> str:
    return "".join(TEXTS[i] for i in ids)


@pytest.fixture(scope="module")
def grammars() -> Grammars:
    return Grammars(tokenizer, VOCAB_SIZE, LIMITS)


def constrained(request_id: int, grammar: str, length: int = 40, **others: Any) -> Request:
    tokens = others.pop("tokens", prompt(20, seed=request_id))
    others = {"stop_token_ids": frozenset({EOS}), "grammar": grammar} | others
    return make_request(request_id, tokens, length, **others)


@pytest.mark.parametrize("temperature", [0.0, 1.5])
def test_an_answer_follows_its_grammar_and_ends_with_it(
    grammars: Grammars, temperature: float
) -> None:
    bench = Bench(grammars=grammars)
    params = SamplingParams(temperature=temperature, seed=3)
    person = {"properties": {"a": {"enum": [1, 22]}}, "required": ["a"], "type": "object"}
    numbers = bench.admit(constrained(1, regex("[0-9]{7}"), params=params))
    people = bench.admit(constrained(2, schema(person | {"additionalProperties": False})))
    bench.run()
    assert len(text(numbers.ids)) == 7 and text(numbers.ids).isdigit()
    assert numbers.ids[-1] == people.ids[-1] == EOS
    assert json.loads(text(people.ids))["a"] in (1, 22)
    assert numbers.completion.reason is people.completion.reason is FinishReason.STOP_TOKEN


@pytest.mark.parametrize("name", ["native", "torch"])
def test_real_models_follow_too(name: str, tmp_path: Path) -> None:
    make_tiny_llama(tmp_path)
    source = resolve(str(tmp_path))
    executor: Executor = (
        make_executor(source) if name == "native" else load_torch_executor(source, "float32")
    )
    vocab_size = executor.facts.vocab_size
    wide = Grammars(lambda: tokenizer(vocab_size), vocab_size, LIMITS)
    bench = Bench(executor=executor, grammars=wide)
    params = SamplingParams(temperature=1.0, seed=2)
    answers = [
        bench.admit(constrained(i, regex(f"[a-f]{{{i}}}[0-9]"), params=params)) for i in (3, 9)
    ]
    bench.run()
    for length, answer in zip((3, 9), answers, strict=True):
        assert re.fullmatch(f"[a-f]{{{length}}}[0-9]", text(answer.ids))
        assert answer.completion.reason is FinishReason.STOP_TOKEN


def test_vocabularies_of_sentencepiece_suit_too() -> None:
    bytes_ = [f"<0x{byte:02X}>" for byte in range(256)]
    pieces = ["</s>", *bytes_, "▁", "t", "h", "e", "▁t", "▁th", "▁the"]
    size = len(pieces)

    def sentencepiece() -> LLTokenizer:
        replace = {"type": "Replace", "pattern": {"String": "▁"}, "content": " "}
        decoders = [replace, {"type": "ByteFallback"}, {"type": "Fuse"}]
        end = {"id": EOS, "content": "</s>", "special": True, "single_word": False}
        end |= {"lstrip": False, "rstrip": False, "normalized": False}
        vocab = {piece: i for i, piece in enumerate(pieces)}
        merges = ["▁ t", "▁t h", "▁th e"]
        model = {"type": "BPE", "vocab": vocab, "merges": merges, "byte_fallback": True}
        blanks = {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}
        description = {"added_tokens": [end], "model": model, "normalizer": blanks}
        decoder = {"decoder": {"type": "Sequence", "decoders": decoders}}
        return LLTokenizer(json.dumps(description | decoder), size, [EOS])

    grammar = lark('start: " the" /[\\n{]/ " the"')
    constraint = Grammars(sentencepiece, size, LIMITS).start(grammar, np.empty(0, np.uint32))
    drawn = [-1]
    while drawn[-1] != EOS and len(drawn) < 20:
        mask = constraint.pending.result()
        allowed = [i for i in range(size) if mask[i // 32] >> (i % 32) & 1]
        drawn.append(allowed[-1])
        constraint.advance(allowed[-1])
    assert [pieces[i] for i in drawn[1:]] == ["▁the", "<0x7B>", "▁the", "</s>"]


def test_the_text_does_not_end_before_the_grammar_allows_it(grammars: Grammars) -> None:
    bench = Bench(grammars=grammars)
    params = SamplingParams(logit_bias=[(EOS, 100.0)])
    answer = bench.admit(constrained(1, regex("[a-z]{3,9}"), params=params))
    bench.run()
    assert len(text(answer.ids)) == 3 and answer.ids[-1] == EOS


def test_length_cuts_an_answer(grammars: Grammars) -> None:
    bench = Bench(grammars=grammars)
    answer = bench.admit(constrained(1, regex("[0-9]{30}"), length=5))
    bench.run()
    assert len(answer.ids) == 5
    assert answer.completion.reason is FinishReason.LENGTH


def test_neighbours_are_not_touched(grammars: Grammars) -> None:
    bench = Bench(grammars=grammars)
    free = make_request(9, prompt(30, seed=9), 30)
    answers = [bench.admit(constrained(i, regex("[a-z]{20}"))) for i in range(4)]
    neighbour = bench.admit(free)
    bench.run()
    assert neighbour.ids == expected_greedy(free)
    assert all(len(text(answer.ids)) == 20 for answer in answers)


def test_preemption_changes_no_answer(grammars: Grammars) -> None:
    requests = [constrained(i, regex(f"[a-z]{{{30 + i}}}"), length=40) for i in range(6)]
    alone = []
    for request in requests:
        bench = Bench(grammars=grammars)
        answer = bench.admit(request)
        bench.run()
        alone.append(answer.ids)
    bench = Bench(Shape(num_pages=12, max_total_tokens=100), grammars=grammars)
    answers = [bench.admit(request) for request in requests]
    bench.run()
    assert bench.engine.load().preemptions > 0
    assert [answer.ids for answer in answers] == alone


@pytest.mark.parametrize("kept", [1, 4, 12])
def test_a_resumed_answer_goes_on_in_its_grammar(grammars: Grammars, kept: int) -> None:
    request = constrained(1, schema({"const": "abcdefghijk"}))
    bench = Bench(grammars=grammars)
    whole = bench.admit(request)
    bench.run()
    begun = np.append(request.tokens, np.array(whole.ids[:kept], np.uint32))
    resumed = constrained(2, request.grammar, tokens=begun, prompt_length=len(request.tokens))
    rest = bench.admit(resumed)
    rest.tokens.extend(whole.tokens[:kept])  # an earlier run gave them
    bench.run()
    assert text(whole.ids) == '"abcdefghijk"' and rest.ids == whole.ids


@pytest.mark.parametrize(
    ("grammar", "reason"),
    [
        (regex("("), "regex"),
        (lark("start: nothing"), "nothing"),
        ("nonsense", "grammar"),
        (schema({"type": "strnig"}), "strnig"),
    ],
)
def test_a_bad_grammar_fails_its_request_alone(
    grammars: Grammars, grammar: str, reason: str
) -> None:
    bench = Bench(grammars=grammars)
    bad = bench.admit(constrained(1, grammar))
    good = bench.admit(constrained(2, regex("[0-9]{7}")))
    bench.run()
    assert bad.failure.code is ErrorCode.INVALID and not bad.failure.retryable
    assert "grammar" in bad.failure.message and reason in bad.failure.message
    assert good.completion.reason is FinishReason.STOP_TOKEN


def test_an_answer_beside_its_grammar_cannot_be_resumed(grammars: Grammars) -> None:
    bench = Bench(grammars=grammars)
    tokens = np.append(prompt(20), np.array([TEXTS.index("x")], np.uint32))
    answer = bench.admit(constrained(1, regex("[0-9]{7}"), tokens=tokens, prompt_length=20))
    bench.run()
    assert "doesn't satisfy the grammar" in answer.failure.message


def test_a_step_too_costly_fails_its_request_alone() -> None:
    small = Grammars(tokenizer, VOCAB_SIZE, GrammarLimits(65_536, 100_000, 100_000, 40, 20_000))
    bench = Bench(grammars=small)
    heavy = bench.admit(constrained(1, regex("(a|b)*a(a|b){12}c")))
    light = bench.admit(constrained(2, regex("[0-9]{7}")))
    bench.run()
    assert heavy.failure.code is ErrorCode.INVALID
    assert light.completion.reason is FinishReason.STOP_TOKEN


@pytest.mark.parametrize(("most", "fails"), [(300, True), (20_000, False)])
def test_an_answer_that_is_read_in_too_many_ways_ends_alone(most: int, fails: bool) -> None:
    """The longer it is, the more work is its next mask."""
    limits = GrammarLimits(65_536, 100_000, 1_000_000, 10_000, most)
    bench = Bench(grammars=Grammars(tokenizer, VOCAB_SIZE, limits))
    letters = " | ".join(f'"{letter}"' for letter in string.ascii_lowercase)
    many_ways = constrained(1, lark(f"start: s\ns: s s | s s s | {letters}"), length=30)
    free = make_request(9, prompt(30, seed=9), 30)
    answer, neighbour = bench.admit(many_ways), bench.admit(free)
    bench.run()
    if fails:
        assert answer.failure.code is ErrorCode.INVALID
        assert "Too many items (limit 300" in answer.failure.message
    else:
        assert answer.completion.reason is FinishReason.LENGTH
    assert neighbour.ids == expected_greedy(free)


def chain(name: str, length: int) -> str:
    """Rules of which each names the next."""
    rules = "".join(f"{name}{i}: {name}{i + 1}\n" for i in range(length))
    return f'start: {name}0\n{rules}{name}{length}: "abc"\n'


@pytest.mark.parametrize("name", ["a", "A"])
def test_rules_as_deep_as_the_longest_grammar_do_no_harm(grammars: Grammars, name: str) -> None:
    source = chain(name, 4800)
    assert 60_000 < len(source) <= LIMITS.max_bytes
    bench = Bench(grammars=grammars)
    answer = bench.admit(constrained(1, lark(source)))
    bench.run()
    assert text(answer.ids) == "abc"


def test_without_grammars_a_request_with_one_is_refused() -> None:
    def broken() -> LLTokenizer:
        raise ValueError("no such decoder")

    disabled, unfit = Bench(), Bench(grammars=Grammars(broken, VOCAB_SIZE, LIMITS))
    for bench, reason in [(disabled, "disabled"), (unfit, "no such decoder")]:
        answer = bench.admit(constrained(1, regex("a")))
        free = bench.admit(make_request(2, prompt(20), 5))
        bench.run()
        assert reason in answer.failure.message
        assert len(free.ids) == 5


class Held(Grammars):
    """Holds first masks back until they are let go."""

    def __init__(self) -> None:
        super().__init__(tokenizer, VOCAB_SIZE, LIMITS)
        self.held: list[tuple[Constraint, Future[Any]]] = []

    def start(self, source: str, answer: Any) -> Constraint:
        constraint = super().start(source, answer)
        self.held.append((constraint, constraint.pending))
        constraint.pending = Future()
        return constraint

    def let_go(self) -> None:
        for constraint, pending in self.held:
            constraint.pending.set_result(pending.result())


def test_late_masks_hold_no_other_answer_up() -> None:
    held = Held()
    bench = Bench(grammars=held)
    free = make_request(2, prompt(30, seed=2), 10)
    late, other = bench.admit(constrained(1, regex("[0-9]{2}"))), bench.admit(free)
    while not other.finished:
        bench.step()
    assert other.ids == expected_greedy(free)
    assert not late.ids and not late.finished
    assert bench.engine.load().prefill_tokens == 19 + 30, "its prompt does not wait"
    held.let_go()
    bench.run()
    assert len(text(late.ids)) == 2
