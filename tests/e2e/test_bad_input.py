"""Bad input gets a JSON error that says what is wrong, and harms nobody else."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pytest
from running_server import RunningServer, native_request
from texts import prose

PAYLOAD_LIMIT = 4 * 1024 * 1024


@dataclass(frozen=True)
class Bad:
    """A bad request and how it is to be refused."""

    name: str
    status: int
    mentions: tuple[str, ...] = ()
    path: str = "/generate"
    body: Any = None
    """JSON, or bytes as they are."""
    content_type: str = "application/json"
    method: str = "POST"

    def __str__(self) -> str:
        return self.name


def parameters(**values: Any) -> dict[str, Any]:
    """A good prompt with these parameters."""
    return {"inputs": "x", "parameters": values}


CHAT = "/v1/chat/completions"
USER = [{"role": "user", "content": "x"}]

BAD = [
    Bad("truncated JSON", 400, body=b'{"inputs": "x'),
    Bad("no JSON", 400, body=b"\xff\xfe"),
    Bad("a list", 422, body=[]),
    Bad("oversized", 413, ("payload limit",), body=b'"' + b"x" * PAYLOAD_LIMIT + b'"'),
    Bad(
        "deeply nested",
        422,
        ("at most 64",),
        body=b'{"inputs": "x", "parameters": {"grammar": ' + b"[" * 100_000,
    ),
    Bad("no inputs", 422, ("inputs",), body={}),
    Bad("inputs of a wrong type", 422, ("inputs",), body={"inputs": 5}),
    Bad("parameter of a wrong type", 422, ("top_k",), body=parameters(top_k="5")),
    Bad("negative length", 422, ("max_new_tokens",), body=parameters(max_new_tokens=-1)),
    Bad("zero length", 422, ("max_new_tokens", "0"), body=parameters(max_new_tokens=0)),
    Bad("empty prompt", 422, ("inputs", "empty"), body={"inputs": ""}),
    Bad("too long", 422, ("1 + 900000", "262144"), body=parameters(max_new_tokens=900_000)),
    Bad(
        "prompt too long",
        400,
        ("300000", "262143"),
        path="/v1/completions",
        body={"prompt": [1] * 300_000},
    ),
    Bad("temperature 0", 422, ("temperature",), body=parameters(temperature=0.0)),
    Bad("temperature below 0", 422, ("temperature", "-1"), body=parameters(temperature=-1.0)),
    Bad("top_p above 1", 422, ("top_p", "1.5"), body=parameters(top_p=1.5)),
    Bad("typical_p of 0", 422, ("typical_p",), body=parameters(typical_p=0.0)),
    Bad("top_k of 0", 422, ("top_k",), body=parameters(top_k=0)),
    Bad("penalty", 422, ("repetition_penalty",), body=parameters(repetition_penalty=0.0)),
    Bad("stop count", 422, ("stop", "5", "4"), body=parameters(stop=list("abcde"))),
    Bad("best_of", 422, ("best_of", "9", "2"), body=parameters(best_of=9, do_sample=True)),
    Bad("grammar", 422, ("grammar",), body=parameters(grammar={"type": "regex"})),
    Bad("no JSON type", 415, ("application/json",), body=b"{}", content_type="text/plain"),
    Bad("unknown route", 404, path="/generat", body={}),
    Bad("unknown method", 405, method="PUT", body={}),
    Bad("stream", 422, ("top_p",), path="/generate_stream", body=parameters(top_p=2.0)),
    Bad("chat without messages", 400, ("messages",), path=CHAT, body={"messages": []}),
    Bad("chat with a bad role", 400, ("role",), path=CHAT, body={"messages": [{"role": 1}]}),
    Bad(
        "chat temperature",
        400,
        ("temperature",),
        path=CHAT,
        body={"messages": USER, "temperature": -1},
    ),
    Bad(
        "chat tools",
        400,
        ("tools",),
        path=CHAT,
        body={"messages": USER, "tools": [{"type": "function"}]},
    ),
    Bad("chat model", 404, ("gpt-9",), path=CHAT, body={"messages": USER, "model": "gpt-9"}),
    Bad("completion prompt", 400, ("prompt",), path="/v1/completions", body={"prompt": ""}),
    Bad("unknown v1 route", 404, path="/v1/embedding", body={}),
    Bad("embeddings", 404, ("not served",), path="/v1/embeddings", body={"input": "x"}),
]


def refuse(server: RunningServer, bad: Bad) -> None:
    """Send it and check the refusal: status, form and message."""
    content = bad.body if isinstance(bad.body, bytes) else json.dumps(bad.body).encode()
    headers = {"content-type": bad.content_type}
    response = server.http.request(bad.method, bad.path, content=content, headers=headers)
    assert response.status_code == bad.status, response.text
    assert response.headers["content-type"] == "application/json"
    error = response.json()["error"]
    if bad.path.startswith("/v1"):
        assert error.keys() == {"message", "type", "param", "code"}
        error = error["message"]
    else:
        assert response.json().keys() == {"error", "error_type"}
    for part in bad.mentions:
        assert part in error, f"{part!r} is not in {error!r}"


@pytest.mark.parametrize("bad", BAD, ids=str)
def test_is_refused_with_a_clear_json_error(oracle: RunningServer, bad: Bad) -> None:
    refuse(oracle, bad)


def test_a_running_stream_does_not_notice(oracle: RunningServer) -> None:
    prompt, length = prose(77, 100), 1500
    expected = oracle.generate(prompt, length).ids

    def read(events: Iterator[dict[str, Any]]) -> list[int]:
        return [event["token"]["id"] for event in events]

    with ThreadPoolExecutor(1) as pool, oracle.stream(prompt, length) as events:
        ids = pool.submit(read, events)
        for bad in BAD:
            refuse(oracle, bad)
        assert ids.result() == expected


def test_a_null_is_as_good_as_absent(oracle: RunningServer) -> None:
    names = ("best_of temperature repetition_penalty frequency_penalty top_k top_p typical_p seed"
             " do_sample return_full_text stop truncate watermark decoder_input_details grammar"
             " adapter_id top_n_tokens").split()  # fmt: skip
    prompt = prose(78, 20)
    plain = oracle.generate(prompt, 8)
    body = native_request(prompt, 8, **dict.fromkeys(names))
    answer = oracle.http.post("/generate", json=body).raise_for_status().json()
    assert [token["id"] for token in answer["details"]["tokens"]] == plain.ids
