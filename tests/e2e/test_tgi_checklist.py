"""What a server that takes TGI's place must keep: one test for each of the fifteen points.

Two points are kept otherwise than there: `top_p = 1` is valid, and a shard that dies is started
again, until that has failed five times.
"""

import json
import signal
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx2
import pytest
from running_server import RunningServer, Start, native_request, wait_until
from texts import prose

ENDLESS = 100_000
MESSAGES = [{"role": "user", "content": "Name three rivers."}]


def test_01_equal_requests_at_once_get_equal_answers(smollm: RunningServer) -> None:
    prompt = prose(900, 40)
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: smollm.generate(prompt, 10), range(4)))
    assert len({tuple(answer.ids) for answer in answers}) == 1
    assert len({answer.text for answer in answers}) == 1


def test_02_a_warm_cache_gives_the_same(smollm: RunningServer) -> None:
    prompt = prose(901, 60)
    cold, warm = smollm.generate(prompt, 10), smollm.generate(prompt, 10)
    assert cold.cached_tokens < warm.cached_tokens
    assert (cold.ids, cold.text) == (warm.ids, warm.text)


def test_03_a_prompt_in_chunks_gives_the_same(oracle: RunningServer, start: Start) -> None:
    prompt = prose(902, 400)
    whole = oracle.generate(prompt, 10)
    with start("--executor", "oracle", "--max-batch-prefill-tokens", "64") as server:
        chunked = server.generate(prompt, 10)
    assert chunked.prompt_tokens > 3 * 64
    assert chunked.ids == whole.ids


def test_04_05_06_a_stream_adds_up(smollm: RunningServer) -> None:
    prompt = prose(903, 20)
    whole = smollm.http.post("/generate", json=native_request(prompt, 12)).raise_for_status()
    with smollm.stream(prompt, 12) as stream:
        events = list(stream)
    texts = (event["token"]["text"] for event in events if not event["token"]["special"])
    assert "".join(texts) == events[-1]["generated_text"] == whole.json()["generated_text"]
    assert events[-1]["details"]["generated_tokens"] == len(events)
    assert whole.json()["details"]["generated_tokens"] == len(events)
    assert int(whole.headers["x-generated-tokens"]) == len(events)


RULES: list[tuple[str, dict[str, Any]]] = [
    ("best_of", {"best_of": 0}),
    ("best_of", {"best_of": 2}),
    ("best_of", {"best_of": 3, "do_sample": True}),
    ("best_of", {"best_of": 2, "do_sample": True, "seed": 1}),
    ("temperature", {"temperature": 0.0}),
    ("temperature", {"temperature": -1.0}),
    ("repetition_penalty", {"repetition_penalty": 0.0}),
    ("frequency_penalty", {"frequency_penalty": 2.1}),
    ("frequency_penalty", {"frequency_penalty": -2.1}),
    ("top_k", {"top_k": 0}),
    ("top_p", {"top_p": 0.0}),
    ("top_p", {"top_p": 1.1}),
    ("typical_p", {"typical_p": 0.0}),
    ("typical_p", {"typical_p": 1.1}),
    ("max_new_tokens", {"max_new_tokens": 0}),
    ("max_new_tokens", {"max_new_tokens": 10_000_000}),
    ("stop", {"stop": list("abcde")}),
    ("truncate", {"truncate": 0}),
    ("truncate", {"truncate": 10_000_000}),
    ("top_n_tokens", {"top_n_tokens": 21}),
    ("grammar", {"grammar": {"type": "regex", "value": "("}}),
]


@pytest.mark.parametrize(("name", "parameters"), RULES, ids=lambda value: json.dumps(value))
def test_07_a_broken_rule_is_a_validation_error(
    oracle: RunningServer, name: str, parameters: dict[str, Any]
) -> None:
    for path in ("/generate", "/generate_stream", "/"):
        body = {"inputs": "x", "parameters": parameters}
        response = oracle.http.post(path, json=body)
        assert response.status_code == 422, response.text
        assert response.json()["error_type"] == "validation"
        assert name in response.json()["error"]


def test_07_the_ends_of_the_ranges_are_valid(oracle: RunningServer) -> None:
    for parameters in (
        {"top_p": 1.0, "typical_p": 1.0},
        {"frequency_penalty": 2.0},
        {"frequency_penalty": -2.0},
        {"stop": list("abcd"), "top_n_tokens": 20},
        {"best_of": 2, "do_sample": True},
    ):
        assert oracle.generate("x", 2, **parameters).ids


def test_07_an_unknown_adapter_is_not_found(oracle: RunningServer) -> None:
    body = {"inputs": "x", "parameters": {"adapter_id": "mine"}}
    response = oracle.http.post("/generate", json=body)
    assert (response.status_code, response.json()["error_type"]) == (404, "adapter_not_found")


def test_08_one_request_too_many_is_refused(start: Start) -> None:
    with start("--executor", "oracle", "--max-concurrent-requests", "1") as server:
        with server.stream(prose(904, 20), ENDLESS) as events:
            next(events)
            for path in ("/generate", "/generate_stream"):
                response = server.http.post(path, json={"inputs": "x"})
                assert response.status_code == 429
                assert response.json()["error_type"] == "overloaded"
                assert int(response.headers["retry-after"]) >= 1
        wait_until(
            lambda: server.http.post("/generate", json=native_request("x", 1)).status_code == 200,
            "the place is free again",
        )


def test_09_a_client_that_leaves_frees_its_place_and_pages(oracle: RunningServer) -> None:
    with oracle.stream(prose(905, 50), ENDLESS) as events:
        next(events)
    wait_until(lambda: oracle.metrics()["tgi_requests_in_flight"] == 0, "the place is free")
    wait_until(lambda: oracle.pages()["referenced"] == 0, "the pages are free")


def test_10_sigterm_lets_a_stream_finish(start: Start) -> None:
    with start("--executor", "oracle") as server:
        with server.stream(prose(906, 20), 1500) as stream:
            first = next(stream)
            server.signal(signal.SIGTERM)
            events = [first, *stream]
        assert len(events) == 1500
        assert events[-1]["generated_text"]
        assert server.wait_exit() == 0


def test_11_a_killed_shard_turns_health_red_and_comes_back(start: Start) -> None:
    # That the launcher gives up at the fifth failure is a test of its supervisor, with its time.
    with start("--executor", "oracle") as server:
        server.shard().kill()
        wait_until(lambda: server.health() == 503, "health is red")
        server.wait_ready()
        assert server.http.get("/health/live").status_code == 200


def nulls(names: str) -> dict[str, None]:
    """An object with these fields, all null."""
    return dict.fromkeys(names.split())


NATIVE = nulls(
    "best_of temperature repetition_penalty frequency_penalty top_k top_p typical_p do_sample"
    " return_full_text stop truncate watermark decoder_input_details seed top_n_tokens grammar"
    " adapter_id ignore_eos prefill_progress"
)
V1 = nulls(
    "n logprobs stop seed user stream stream_options frequency_penalty presence_penalty top_p"
    " logit_bias temperature"
)
CHAT = V1 | nulls("top_logprobs tools tool_choice response_format max_completion_tokens model")
COMPLETION = V1 | nulls("echo suffix best_of response_format model")


def test_12_a_null_is_as_good_as_absent(oracle: RunningServer) -> None:
    fixed = {"max_new_tokens": 4, "details": True}
    for path in ("/generate", "/"):
        bare = {"inputs": "x", "parameters": fixed}
        full = {"inputs": "x", "parameters": fixed | NATIVE, "stream": None}
        answers = [
            oracle.http.post(path, json=body).raise_for_status().json() for body in (bare, full)
        ]
        bodies = [answer[0] if path == "/" else answer for answer in answers]
        assert bodies[0]["details"]["tokens"] == bodies[1]["details"]["tokens"]
    for path, prompt, fields in (
        ("/v1/chat/completions", {"messages": MESSAGES}, CHAT),
        ("/v1/completions", {"prompt": "x"}, COMPLETION),
    ):
        body = fields | prompt | {"max_tokens": 4}
        answer = oracle.http.post(path, json=body).raise_for_status().json()
        assert len(answer["choices"]) == 1
        assert answer["usage"]["completion_tokens"] == 4
    assert (
        oracle.http.post("/tokenize", json={"inputs": "x", "parameters": None}).status_code == 200
    )


def test_13_only_openai_streams_end_with_done(oracle: RunningServer) -> None:
    def data(path: str, body: dict[str, Any]) -> list[str]:
        with oracle.http.stream("POST", path, json=body) as response:
            response.raise_for_status()
            return [event.data for event in httpx2.EventSource(response)]

    native = native_request("x", 3) | {"stream": True}
    chat = {"messages": MESSAGES, "max_tokens": 3, "stream": True}
    completion = {"prompt": "x", "max_tokens": 3, "stream": True}
    assert data("/v1/chat/completions", chat).count("[DONE]") == 1
    assert data("/v1/completions", completion)[-1] == "[DONE]"
    for path in ("/generate_stream", "/"):
        assert "[DONE]" not in data(path, native)


def test_14_usage_adds_up_and_counts_as_the_tokenizer(oracle: RunningServer) -> None:
    prompt = oracle.chat_prompt(MESSAGES)
    for path, fields in (
        ("/v1/chat/completions", {"messages": MESSAGES}),
        ("/v1/completions", {"prompt": prompt.text}),
    ):
        body = fields | {"max_tokens": 5}
        usage = oracle.http.post(path, json=body).raise_for_status().json()["usage"]
        assert usage["prompt_tokens"] == len(prompt.ids)
        assert usage["completion_tokens"] == 5
        assert usage["total_tokens"] == usage["prompt_tokens"] + 5


def test_15_an_answer_under_a_grammar_parses(smollm: RunningServer) -> None:
    properties = {
        "name": {"type": "string", "maxLength": 8},
        "age": {"type": "integer", "maximum": 99},
    }
    schema = {
        "type": "object",
        "properties": properties,
        "required": ["name", "age"],
        "additionalProperties": False,
    }
    answer = smollm.generate("A person:", 60, grammar={"type": "json", "value": schema})
    value = json.loads(answer.text)
    assert value.keys() == {"name", "age"}
    assert isinstance(value["age"], int)
