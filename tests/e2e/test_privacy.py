"""A marker in every text a client can send comes up in no log, no metric and no trace."""

from typing import Any

from otlp_collector import Collector
from running_server import RunningServer, Start, wait_until

MARKER = "Marzipan4711"
SCHEMA = {"type": "object", "properties": {MARKER: {"type": "integer"}}, "required": [MARKER]}
TOOL = {"type": "function", "function": {"name": MARKER, "parameters": SCHEMA}}
CALL = {"id": "call_1", "type": "function", "function": {"name": MARKER, "arguments": "{}"}}
CHAT: dict[str, Any] = {
    "model": "tgi",
    "max_tokens": 5,
    "user": MARKER,
    "stop": [MARKER],
    "messages": [
        {"role": "system", "content": MARKER},
        {"role": "user", "content": MARKER},
        {"role": "assistant", "content": None, "tool_calls": [CALL]},
        {"role": "tool", "tool_call_id": "call_1", "content": MARKER},
    ],
    "tools": [TOOL],
}
NATIVE = {"inputs": MARKER, "parameters": {"max_new_tokens": 5, "stop": [MARKER]}}


def grammar(kind: str, value: object) -> dict[str, Any]:
    """Parameters of an answer that follows a grammar."""
    return {"max_new_tokens": 5, "grammar": {"type": kind, "value": value}}


REQUESTS: list[tuple[str, dict[str, Any]]] = [
    ("/generate", NATIVE),
    (
        "/generate",
        {"inputs": MARKER, "parameters": grammar("regex", MARKER)},
    ),
    ("/generate", {"inputs": MARKER, "parameters": grammar("json", SCHEMA)}),
    ("/generate", {"inputs": MARKER, "parameters": grammar("json", MARKER)}),
    ("/generate", {"inputs": MARKER, "parameters": {"adapter_id": MARKER}}),
    ("/generate", {"inputs": {MARKER: MARKER}}),
    ("/tokenize", {"inputs": MARKER}),
    ("/v1/chat/completions", CHAT),
    ("/v1/chat/completions", CHAT | {"stream": True}),
    ("/v1/chat/completions", CHAT | {"model": MARKER}),
    ("/v1/completions", {"model": "tgi", "prompt": MARKER, "max_tokens": 5, "suffix": MARKER}),
    ("/v1/responses", {"input": MARKER, "instructions": MARKER, "max_output_tokens": 5}),
    ("/v1/responses", {"input": MARKER, "previous_response_id": MARKER}),
    (
        "/v1/messages",
        {"model": "tgi", "max_tokens": 5, "messages": [{"role": "user", "content": MARKER}]},
    ),
    (f"/v1/{MARKER}", {MARKER: MARKER}),
]


def send(server: RunningServer, headers: dict[str, str]) -> set[int]:
    """Every request, and two bodies that are no JSON; returns the statuses."""
    statuses = {
        server.http.post(path, json=body, headers=headers).status_code for path, body in REQUESTS
    }
    json = headers | {"content-type": "application/json"}
    server.http.post("/generate", content=f'{{"{MARKER}', headers=json)
    server.http.post("/generate", content=MARKER, headers=headers)
    server.http.get(f"/v1/models/{MARKER}", params={MARKER: MARKER}, headers=headers)
    return statuses


def test_nothing_that_clients_send_comes_up_anywhere(start: Start) -> None:
    key = f"{MARKER}-key"
    flags = ("--executor", "oracle", "--json-output", "--api-key", key, "--open-metrics")
    with Collector() as collector:
        with start(*flags, "--otlp-endpoint", collector.endpoint) as server:
            sent = {"authorization": f"Bearer {key}", "user-agent": MARKER, "x-request-id": "last"}
            assert {200, 404} <= send(server, sent | {"x-request-id": "some"})
            assert send(server, {"x-api-key": MARKER}) <= {401, 404}
            server.http.post("/generate", json=NATIVE, headers=sent).raise_for_status()
            wait_until(lambda: '"last"' in collector.everything(), "the traces are exported")
            metrics = server.http.get("/metrics").text
        assert "tgi_request_count" in metrics and '"request_id":"last"' in server.output()
        for text in (server.output(), metrics, collector.everything()):
            assert MARKER not in text
