"""One greedy request gives the same tokens and counts on every route, streamed or not."""

import json
from dataclasses import dataclass, replace
from typing import Any

import httpx2
import pytest
from chat_clients import TextGenerationClient
from running_server import RunningServer, native_request
from texts import prose

ANSWER_TOKENS = 20
MESSAGES = [{"role": "user", "content": "Name three rivers. " + prose(11, 30)}]


@dataclass(frozen=True)
class Outcome:
    """What every route says about an answer."""

    text: str
    prompt_tokens: int
    generated_tokens: int
    finish_reason: str


def events(server: RunningServer, path: str, body: dict[str, Any]) -> list[str]:
    """Data of all events of a streamed answer."""
    with server.http.stream("POST", path, json=body) as response:
        response.raise_for_status()
        return [event.data for event in httpx2.EventSource(response)]


def native(server: RunningServer, path: str, prompt: str) -> Outcome:
    """A whole answer of `/generate`, `/` or `/invocations`."""
    response = server.http.post(path, json=native_request(prompt, ANSWER_TOKENS))
    body = response.raise_for_status().json()
    answer = body[0] if isinstance(body, list) else body
    details = answer["details"]
    prompt_tokens = int(response.headers["x-prompt-tokens"])
    assert int(response.headers["x-generated-tokens"]) == len(details["tokens"])
    return Outcome(
        answer["generated_text"],
        prompt_tokens,
        details["generated_tokens"],
        details["finish_reason"],
    )


def native_stream(server: RunningServer, path: str, prompt: str) -> Outcome:
    """A streamed answer of `/generate_stream`, `/` or `/invocations`."""
    request = native_request(prompt, ANSWER_TOKENS) | {"stream": True}
    parts = [json.loads(data) for data in events(server, path, request)]
    assert [part["index"] for part in parts] == list(range(1, len(parts) + 1))
    last = parts[-1]
    details = last["details"]
    shown = (part["token"] for part in parts)
    joined = "".join(token["text"] for token in shown if not token["special"])
    assert joined == last["generated_text"]
    assert details["generated_tokens"] == len(parts)
    reason = details["finish_reason"]
    return Outcome(joined, details["input_length"], len(parts), reason)


def openai(
    server: RunningServer, path: str, fields: dict[str, Any], max_tokens: int = ANSWER_TOKENS
) -> Outcome:
    """A whole answer of a `/v1` route."""
    body = fields | {"max_tokens": max_tokens, "temperature": 0}
    answer = server.http.post(path, json=body).raise_for_status().json()
    choice, usage = answer["choices"][0], answer["usage"]
    text = choice["text"] if "text" in choice else choice["message"]["content"]
    counts = usage["prompt_tokens"], usage["completion_tokens"]
    return Outcome(text, *counts, choice["finish_reason"])


def openai_stream(server: RunningServer, path: str, fields: dict[str, Any]) -> Outcome:
    """A streamed answer of a `/v1` route."""
    fixed = {"max_tokens": ANSWER_TOKENS, "temperature": 0}
    stream = {"stream": True, "stream_options": {"include_usage": True}}
    data = events(server, path, fields | fixed | stream)
    assert data[-1] == "[DONE]"
    *chunks, last = (json.loads(datum) for datum in data[:-1])
    assert last["choices"] == []
    choices = [chunk["choices"][0] for chunk in chunks]
    pieces = (
        choice["text"] if "text" in choice else choice["delta"].get("content") for choice in choices
    )
    reasons = {choice["finish_reason"] for choice in choices} - {None}
    counts = last["usage"]["prompt_tokens"], last["usage"]["completion_tokens"]
    return Outcome("".join(piece or "" for piece in pieces), *counts, reasons.pop())


def echoed(server: RunningServer, fields: dict[str, Any]) -> Outcome:
    """A completion that begins with its prompt, without that, and as its stream tells it."""
    fields = fields | {"echo": True}
    alone = openai(server, "/v1/completions", fields, max_tokens=0)
    assert alone.generated_tokens == 0
    whole = openai(server, "/v1/completions", fields)
    assert openai_stream(server, "/v1/completions", fields) == whole
    assert whole.text.startswith(alone.text)
    return replace(whole, text=whole.text.removeprefix(alone.text))


def responses(server: RunningServer) -> Outcome:
    """A whole answer of `/v1/responses`."""
    body = {"input": MESSAGES, "max_output_tokens": ANSWER_TOKENS, "temperature": 0}
    answer = server.http.post("/v1/responses", json=body).raise_for_status().json()
    return response_outcome(answer)


def responses_stream(server: RunningServer) -> Outcome:
    """A streamed answer of `/v1/responses`."""
    fixed = {"max_output_tokens": ANSWER_TOKENS, "temperature": 0, "stream": True}
    data = events(server, "/v1/responses", fixed | {"input": MESSAGES})
    parts = [json.loads(datum) for datum in data]
    outcome = response_outcome(parts[-1]["response"])
    text = "".join(p["delta"] for p in parts if p["type"] == "response.output_text.delta")
    assert text == outcome.text
    return outcome


def response_outcome(answer: dict[str, Any]) -> Outcome:
    """The outcome that a response object tells."""
    text = "".join(part["text"] for item in answer["output"] for part in item["content"])
    usage = answer["usage"]
    reasons = {"completed": "stop", "incomplete": "length"}
    counts = usage["input_tokens"], usage["output_tokens"]
    return Outcome(text, *counts, reasons[answer["status"]])


MESSAGES_ENDS = {"end_turn": "stop", "stop_sequence": "stop", "max_tokens": "length"}


def messages(server: RunningServer) -> Outcome:
    """A whole answer of `/v1/messages`."""
    body = {"messages": MESSAGES, "max_tokens": ANSWER_TOKENS, "temperature": 0}
    answer = server.http.post("/v1/messages", json=body).raise_for_status().json()
    text = "".join(block["text"] for block in answer["content"])
    return message_outcome(text, answer["usage"], answer["stop_reason"])


def messages_stream(server: RunningServer) -> Outcome:
    """A streamed answer of `/v1/messages`."""
    fixed = {"max_tokens": ANSWER_TOKENS, "temperature": 0, "stream": True}
    data = events(server, "/v1/messages", fixed | {"messages": MESSAGES})
    parts = [json.loads(datum) for datum in data]
    assert [parts[0]["type"], parts[-1]["type"]] == ["message_start", "message_stop"]
    text = "".join(p["delta"]["text"] for p in parts if p["type"] == "content_block_delta")
    end = parts[-2]
    return message_outcome(text, end["usage"], end["delta"]["stop_reason"])


def message_outcome(text: str, usage: dict[str, int], reason: str) -> Outcome:
    """The outcome that a message tells."""
    prompt_tokens = usage["input_tokens"] + usage["cache_read_input_tokens"]
    return Outcome(text, prompt_tokens, usage["output_tokens"], MESSAGES_ENDS[reason])


@pytest.mark.parametrize("server_name", ["oracle", "smollm"])
def test_all_routes_agree(server_name: str, request: pytest.FixtureRequest) -> None:
    server: RunningServer = request.getfixturevalue(server_name)
    prompt = server.chat_prompt(MESSAGES).text
    outcomes = {
        "/generate": native(server, "/generate", prompt),
        "/": native(server, "/", prompt),
        "/generate_stream": native_stream(server, "/generate_stream", prompt),
        "/ stream": native_stream(server, "/", prompt),
        "/invocations": native(server, "/invocations", prompt),
        "/invocations stream": native_stream(server, "/invocations", prompt),
    }
    tokens = server.http.post("/tokenize", json={"inputs": prompt}).raise_for_status().json()
    ids = [token["id"] for token in tokens]
    for name, sent in {"text": prompt, "tokens": ids}.items():
        fields: dict[str, Any] = {"prompt": sent}
        outcomes[f"completion of {name}"] = openai(server, "/v1/completions", fields)
        outcomes[f"echo of {name}"] = echoed(server, fields)
    v1: dict[str, dict[str, Any]] = {
        "/v1/completions": {"prompt": prompt},
        "/v1/chat/completions": {"messages": MESSAGES},
    }
    for path, fields in v1.items():
        outcomes[path] = openai(server, path, fields)
        outcomes[f"{path} stream"] = openai_stream(server, path, fields)
    outcomes |= {
        "/v1/responses": responses(server),
        "/v1/responses stream": responses_stream(server),
        "/v1/messages": messages(server),
        "/v1/messages stream": messages_stream(server),
    }
    distinct = set(outcomes.values())
    assert len(distinct) == 1, outcomes
    [outcome] = distinct
    assert outcome.generated_tokens == ANSWER_TOKENS
    chat = {"messages": MESSAGES, "max_tokens": ANSWER_TOKENS, "temperature": 0}
    instances = [native_request(prompt, ANSWER_TOKENS), chat]
    answer = server.http.post("/vertex", json={"instances": instances}).raise_for_status().json()
    assert answer == {"predictions": [outcome.text, outcome.text]}


def test_an_echo_tells_what_the_native_route_tells_of_the_prompt(smollm: RunningServer) -> None:
    prompt = prose(13, 30)
    scored = {"prompt": prompt, "echo": True, "logprobs": 1, "max_tokens": 0}
    answer = smollm.http.post("/v1/completions", json=scored).raise_for_status().json()
    lists = answer["choices"][0]["logprobs"]
    body = native_request(prompt, 1, decoder_input_details=True)
    native = smollm.http.post("/generate", json=body).raise_for_status().json()
    prefill = native["details"]["prefill"]
    assert lists["tokens"] == [token["text"] for token in prefill]
    assert lists["token_logprobs"] == [token["logprob"] for token in prefill]
    assert lists["token_logprobs"][0] is None and lists["top_logprobs"][0] is None
    assert "".join(lists["tokens"]) == answer["choices"][0]["text"] == prompt
    for offset, token in zip(lists["text_offset"], lists["tokens"], strict=True):
        assert prompt[offset:].startswith(token)


def test_the_text_generation_client_gets_the_same_natively(oracle: RunningServer) -> None:
    prompt = prose(12, 40)
    expected = oracle.generate(prompt, ANSWER_TOKENS)
    client = TextGenerationClient(oracle.url)
    try:
        for call in ("generate", "generate_stream"):
            answer = client.call(call, prompt=prompt, max_new_tokens=ANSWER_TOKENS)
            assert (answer["ids"], answer["text"]) == (expected.ids, expected.text)
    finally:
        client.close()


def test_a_bias_forces_and_forbids_a_token_on_both_openai_routes(smollm: RunningServer) -> None:
    only = smollm.http.post("/tokenize", json={"inputs": " river"}).raise_for_status().json()
    [token] = [entry["id"] for entry in only]
    prompt = {"prompt": "Once upon a", "max_tokens": 3, "temperature": 0}
    chat = {
        "messages": [{"role": "user", "content": "Hi."}],
        "max_tokens": 3,
        "temperature": 0,
    }

    def answer(path: str, body: dict[str, Any], bias: float) -> str:
        sent = body | {"logit_bias": {str(token): bias}}
        choice = smollm.http.post(path, json=sent).raise_for_status().json()["choices"][0]
        return str(choice["text"] if "text" in choice else choice["message"]["content"])

    for path, body in (("/v1/completions", prompt), ("/v1/chat/completions", chat)):
        assert answer(path, body, 100.0) == " river river river", path
        assert "river" not in answer(path, body, -100.0), path
