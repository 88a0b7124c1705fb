"""Answers that must follow a grammar: on every route, for each kind, on SmolLM2 and the oracle."""

import json
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import httpx2
import pytest
from running_server import RunningServer, native_request

PERSON = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 12},
        "age": {"type": "integer", "minimum": 0, "maximum": 120},
        "tags": {"type": "array", "items": {"enum": ["a", "b"]}, "maxItems": 2},
    },
    "required": ["name", "age"],
    "additionalProperties": False,
}
PROMPT = "Describe a person as JSON."
SUM = 'start: number ("+" number){1,3}\nnumber: /[0-9]{1,3}/'


def is_person(text: str) -> bool:
    value = json.loads(text)
    assert {"name", "age"} <= value.keys() <= {"name", "age", "tags"}
    return len(value["name"]) <= 12 and 0 <= value["age"] <= 120


def matches(pattern: str) -> Callable[[str], bool]:
    return lambda text: re.fullmatch(pattern, text) is not None


@dataclass(frozen=True)
class Kind:
    """A grammar as the native routes take it, and what its answers are."""

    grammar: dict[str, Any]
    holds: Callable[[str], bool]


KINDS = {
    "json": Kind({"type": "json", "value": PERSON}, is_person),
    "json text": Kind({"type": "json", "value": json.dumps(PERSON)}, is_person),
    "json_schema": Kind(
        {"type": "json_schema", "value": {"name": "person", "schema": PERSON}}, is_person
    ),
    "json list": Kind(
        {"type": "json", "value": {"type": "array", "items": {"type": "boolean"}, "maxItems": 3}},
        lambda text: isinstance(json.loads(text), list),
    ),
    "regex": Kind({"type": "regex", "value": r"^\d{3}-[a-f]{2,4}$"}, matches(r"\d{3}-[a-f]{2,4}")),
    "lark": Kind({"type": "lark", "value": SUM}, matches(r"[0-9]{1,3}(\+[0-9]{1,3}){1,3}")),
}
OBJECT = {"type": "json_object"}


def request(grammar: dict[str, Any], **parameters: Any) -> dict[str, Any]:
    return native_request(PROMPT, parameters.pop("length", 150), grammar=grammar, **parameters)


def answer(server: RunningServer, body: dict[str, Any]) -> dict[str, Any]:
    response = server.http.post("/generate", json=body)
    assert response.status_code == 200, response.text
    return dict(response.json())


def streamed(server: RunningServer, body: dict[str, Any]) -> dict[str, Any]:
    with server.http.stream("POST", "/generate_stream", json=body) as response:
        response.raise_for_status()
        events = [json.loads(event.data) for event in httpx2.EventSource(response)]
    return dict(events[-1])


@pytest.mark.parametrize("server_name", ["smollm", "oracle"])
@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_an_answer_follows_its_grammar(
    server_name: str, kind: Kind, request: pytest.FixtureRequest
) -> None:
    server: RunningServer = request.getfixturevalue(server_name)
    sampling: dict[str, Any] = {"do_sample": True, "seed": 7, "temperature": 1.2}
    for parameters in ({}, sampling):
        body = native_request(PROMPT, 150, grammar=kind.grammar, **parameters)
        whole, stream = answer(server, body), streamed(server, body)
        assert kind.holds(whole["generated_text"]), whole["generated_text"]
        assert whole["details"]["finish_reason"] == "eos_token"
        assert stream["generated_text"] == whole["generated_text"]
        assert stream["details"]["finish_reason"] == "eos_token"


def test_any_json_object(smollm: RunningServer) -> None:
    """Nothing bounds its length, so that it may be cut; what is whole parses."""
    for seed in range(4):
        body = request(OBJECT, seed=seed, do_sample=True, length=60)
        whole = answer(smollm, body)
        text = whole["generated_text"]
        assert text.startswith("{")
        if whole["details"]["finish_reason"] == "eos_token":
            assert isinstance(json.loads(text), dict)


@pytest.mark.parametrize(
    "response_format",
    [
        {"type": "json_schema", "json_schema": {"name": "p", "schema": PERSON, "strict": True}},
        {"type": "json_object", "value": PERSON},
        {"type": "json", "value": PERSON},
        {"type": "json_schema", "value": {"schema": PERSON}},
    ],
)
def test_a_chat_answer_follows_its_format(
    smollm: RunningServer, response_format: dict[str, Any]
) -> None:
    body = {
        "messages": [{"role": "user", "content": PROMPT}],
        "max_tokens": 150,
        "temperature": 0,
        "response_format": response_format,
    }
    response = smollm.http.post("/v1/chat/completions", json=body).raise_for_status()
    choice = response.json()["choices"][0]
    assert choice["finish_reason"] == "stop"
    assert is_person(choice["message"]["content"])


def test_a_completion_follows_its_format(smollm: RunningServer) -> None:
    schema = {"type": "json_schema", "json_schema": {"name": "p", "schema": PERSON}}
    body = {"prompt": PROMPT, "max_tokens": 150, "temperature": 0, "response_format": schema}
    response = smollm.http.post("/v1/completions", json=body).raise_for_status()
    choice = response.json()["choices"][0]
    assert choice["finish_reason"] == "stop"
    assert is_person(choice["text"])


def test_many_at_once_leave_an_unbound_stream_alone(smollm: RunningServer) -> None:
    free = native_request("Once upon a time", 60)
    alone = streamed(smollm, free)["generated_text"]
    bodies = [
        request(kind.grammar, do_sample=True, seed=seed)
        for seed in (1, 2)
        for kind in KINDS.values()
    ]
    with ThreadPoolExecutor(len(bodies) + 1) as pool:
        beside = pool.submit(streamed, smollm, free)
        answers = list(pool.map(lambda body: answer(smollm, body), bodies))
    assert beside.result()["generated_text"] == alone
    for kind, whole in zip([*KINDS.values()] * 2, answers, strict=True):
        assert kind.holds(whole["generated_text"])


BAD = [
    ({"type": "json", "value": {"type": "strnig"}}, "strnig"),
    ({"type": "json", "value": "{"}, "no JSON"),
    ({"type": "regex", "value": "("}, "regex"),
    ({"type": "lark", "value": "start: nothing"}, "nothing"),
    ({"type": "regex"}, "needs a string"),
    ({"type": "nonsense", "value": ""}, "nonsense"),
    ({"type": "regex", "value": "a" * 65_537}, "at most 65536 bytes, got 65537"),
    ({"type": "json", "value": {"multipleOf": 999_983}}, "least common multiple"),
    ({"type": "lark", "value": "start: %json {}"}, "%json"),
]


@pytest.mark.parametrize(("grammar", "reason"), BAD)
@pytest.mark.parametrize("path", ["/generate", "/generate_stream"])
def test_a_bad_grammar_is_refused_before_any_answer(
    oracle: RunningServer, path: str, grammar: dict[str, Any], reason: str
) -> None:
    response = oracle.http.post(path, json=request(grammar))
    assert response.status_code == 422
    error = response.json()
    assert error["error_type"] == "validation"
    assert "grammar" in error["error"] and reason in error["error"]


def test_limits_count_their_hits(oracle: RunningServer) -> None:
    def hits(limit: str) -> float:
        return oracle.metrics().get(f'tgi_limit_hits{{limit="{limit}"}}', 0.0)

    either = [{"anyOf": [{"properties": {f"{a}{i}": {}}} for a in "ab"]} for i in range(300)]
    for limit, grammar in [
        ("grammar_bytes", {"type": "regex", "value": "b" * 65_537}),
        ("grammar_multiples", {"type": "json", "value": {"multipleOf": 999_979}}),
        ("grammar_size", {"type": "json", "value": {"allOf": either}}),
    ]:
        before = hits(limit)
        assert oracle.http.post("/generate", json=request(grammar)).status_code == 422
        assert hits(limit) == before + 1, limit


def test_ignoring_the_end_and_following_a_grammar_contradict(oracle: RunningServer) -> None:
    response = oracle.http.post("/generate", json=request(OBJECT, ignore_eos=True))
    assert response.status_code == 422
    assert "ignore_eos" in response.json()["error"]
