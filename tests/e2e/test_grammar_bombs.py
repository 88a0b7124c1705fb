"""Grammars made to be expensive: they are refused, and a stream beside goes on as alone."""

import time
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any

import pytest
from running_server import RunningServer, native_request

LONGEST_GAP_SECONDS = 2.0
"""Bound on what holds a stream up, not on what slows it: the machine may be busy."""


def regex(expression: str) -> dict[str, Any]:
    return {"type": "regex", "value": expression}


def lark(*rules: str) -> dict[str, Any]:
    return {"type": "lark", "value": "\n".join(rules)}


def schema(value: Any) -> dict[str, Any]:
    return {"type": "json", "value": value}


def either(i: int) -> dict[str, Any]:
    return {"anyOf": [{"properties": {f"{name}{i}": {"type": "string"}}} for name in "ab"]}


def between(i: int) -> dict[str, Any]:
    return {"type": "number", "minimum": i + 0.123456789, "maximum": 1e9 + i * 1.7}


ORDERS = [(letter, 10 + i) for i, letter in enumerate("abcdefghijkl")]
BOMBS = {
    "nested groups": regex("(" * 20_000 + "a" + ")" * 20_000),
    "classes side by side": regex(r"(\w|\d|[^x]){0,50}" * 500),
    "repeated repetitions": regex("(.{0,100}){0,10000}"),
    "intersection": lark("start: A", "A: " + " & ".join(f"/(.*{a}.{{{n}}})/" for a, n in ORDERS)),
    "doubling": lark("start: A0", *(f"A{i}: A{i + 1} A{i + 1}" for i in range(60)), 'A60: "a"'),
    "optional rules": lark(
        "start: " + " ".join(f"a{i}?" for i in range(2000)),
        *(f'a{i}: "a"' for i in range(2000)),
    ),
    "ambiguous, which shows in the answer": lark("start: s", "s: s s | s s s | /./ |"),
    "product of choices": schema({"allOf": [either(i) for i in range(300)]}),
    "patterns that hold together": schema(
        {"allOf": [{"pattern": f".*{a}.{{{n}}}"} for a, n in ORDERS]}
    ),
    "ranges": schema({"properties": {f"a{i}": between(i) for i in range(700)}}),
    "multiples": schema({"multipleOf": 999_983}),
    "100,000 values": schema({"enum": list(range(100_000))}),
}


def timed_stream(server: RunningServer) -> tuple[list[int], list[float]]:
    """The tokens of a greedy answer and when each came."""
    with server.stream("Once upon a time", 200) as events:
        tokens = [(event["token"]["id"], time.monotonic()) for event in events]
    return [token for token, _ in tokens], [moment for _, moment in tokens]


def status(server: RunningServer, grammar: dict[str, Any]) -> int:
    body = native_request("Go on:", 100, grammar=grammar)
    return server.http.post("/generate", json=body).status_code


@pytest.mark.parametrize("server_name", ["smollm", "oracle"])
def test_bombs_are_refused_and_no_stream_waits_for_them(
    server_name: str, request: pytest.FixtureRequest
) -> None:
    server: RunningServer = request.getfixturevalue(server_name)
    alone, _ = timed_stream(server)
    with ThreadPoolExecutor(len(BOMBS) + 1) as pool:
        stream = pool.submit(timed_stream, server)
        answers = {name: pool.submit(status, server, bomb) for name, bomb in BOMBS.items()}
        statuses = {name: answer.result() for name, answer in answers.items()}
    beside, moments = stream.result()
    assert {name: code for name, code in statuses.items() if not 400 <= code < 500} == {}
    assert beside == alone
    gaps = [later - earlier for earlier, later in pairwise(moments)]
    assert max(gaps) < LONGEST_GAP_SECONDS
