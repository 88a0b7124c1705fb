"""What launcher, router and shard log: one line a request, as JSON or for people, no prompt."""

import json
import os
from pathlib import Path
from typing import Any

import httpx2
import pytest
from running_server import RunningServer, Start, wait_until

PROMPT = "A prompt that no log shows"
BODY = {"inputs": PROMPT, "parameters": {"max_new_tokens": 5}}


def json_lines(server: RunningServer) -> list[dict[str, Any]]:
    """The log's lines; what the launcher prints for people is no JSON."""
    lines = server.output().splitlines()
    return [json.loads(line) for line in lines if line.startswith("{")]


def line_of(server: RunningServer, request_id: str) -> dict[str, Any]:
    """The access log's line of a request, which comes after its last byte."""

    def lines() -> list[dict[str, Any]]:
        logged = [line for line in json_lines(server) if line["target"] == "access"]
        return [line for line in logged if line["request_id"] == request_id]

    wait_until(lambda: bool(lines()), f"the line of {request_id}")
    (line,) = lines()
    return line


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A server that logs JSON."""
    log = tmp_path_factory.mktemp("logs") / "log"
    with RunningServer(log, "--executor", "oracle", "--json-output") as server:
        yield server


def post(server: RunningServer, path: str, body: object, request_id: str) -> httpx2.Response:
    return server.http.post(path, json=body, headers={"x-request-id": request_id})


def leave(server: RunningServer, request_id: str) -> None:
    """Begin to read a long answer, and go away."""
    body = {"inputs": PROMPT, "parameters": {"max_new_tokens": 100_000}}
    headers = {"x-request-id": request_id}
    with server.http.stream("POST", "/generate_stream", json=body, headers=headers) as response:
        next(response.iter_bytes())


def test_a_request_is_one_line_with_what_it_took(server: RunningServer) -> None:
    answer = post(server, "/generate", BODY, "whole")
    line = line_of(server, "whole")
    expected = {
        "level": "INFO",
        "message": "request",
        "method": "POST",
        "route": "/generate",
        "status": 200,
        "tenant": "default",
        "prompt_tokens": int(answer.headers["x-prompt-tokens"]),
        "generated_tokens": 5,
        "cached_tokens": 0,
    }
    assert {name: line[name] for name in expected} == expected
    assert line["duration_ms"] >= line["queue_ms"] + line["prefill_ms"] + line["decode_ms"] > 0
    assert not {"error", "cause", "client_left"} & line.keys()

    post(server, "/generate", BODY, "again")
    assert line_of(server, "again")["cached_tokens"] > 0


def test_a_stream_is_logged_at_its_end(server: RunningServer) -> None:
    body = {"prompt": PROMPT, "model": "tgi", "max_tokens": 7, "stream": True}
    post(server, "/v1/completions", body, "stream")
    line = line_of(server, "stream")
    assert (line["route"], line["status"]) == ("/v1/completions", 200)
    assert line["generated_tokens"] == 7
    assert "client_left" not in line


def test_a_client_that_leaves_is_told_apart(server: RunningServer) -> None:
    leave(server, "left")
    line = line_of(server, "left")
    assert (line["status"], line["client_left"]) == (200, True)


def test_the_shard_names_the_request_that_a_client_left(server: RunningServer) -> None:
    leave(server, "left-by-id")

    def shards() -> list[dict[str, Any]]:
        named = [line for line in json_lines(server) if line.get("request_id") == "left-by-id"]
        return [line for line in named if line.get("rank") == 0]

    wait_until(lambda: bool(shards()), "the shard's line")
    (line,) = shards()
    assert (line["level"], line["target"]) == ("INFO", "text_generation_server.engine.engine")
    assert line["message"].startswith("cancelled after ")
    assert line_of(server, "left-by-id")["client_left"]


def test_a_refusal_names_its_kind_and_nothing_of_the_request(server: RunningServer) -> None:
    post(server, "/generate", {"inputs": PROMPT, "parameters": {"top_k": -3}}, "refused")
    line = line_of(server, "refused")
    assert (line["status"], line["error"]) == (422, "validation")
    assert "cause" not in line and "prompt_tokens" not in line

    post(server, f"/v1/{PROMPT}", {}, "nowhere")
    line = line_of(server, "nowhere")
    assert (line["route"], line["status"], line["error"]) == ("none", 404, "not_found")


def test_probes_and_metrics_are_not_logged(server: RunningServer) -> None:
    for path in ("/health", "/ping", "/metrics", "/info"):
        server.http.get(path, headers={"x-request-id": path.strip("/")})
    assert line_of(server, "info")["route"] == "/info"
    routine = {"health", "ping", "metrics"}
    assert not [line for line in json_lines(server) if line.get("request_id") in routine]


def test_the_shard_logs_json_with_its_own_levels(server: RunningServer) -> None:
    lines = [line for line in json_lines(server) if "rank" in line]
    ready = [line for line in lines if line["message"].startswith("serving ")]
    assert [(line["level"], line["target"], line["rank"]) for line in ready] == [
        ("INFO", "text_generation_server.shard", 0)
    ]


def test_requests_are_counted_by_route(server: RunningServer) -> None:
    def count(route: str, method: str, status: str) -> float:
        labels = f'route="{route}",method="{method}",status="{status}"'
        return server.metrics().get(f"tgi_http_requests{{{labels}}}", 0)

    before = count("/v1/models/{id}", "GET", "4xx")
    post(server, "/generate", BODY, "counted")
    server.http.get("/v1/models/nobody")
    assert count("/v1/models/{id}", "GET", "4xx") == before + 1
    assert count("/generate", "POST", "2xx") > 0
    server.http.request("BREW", "/pot")
    wait_until(lambda: count("none", "other", "4xx") == 1, "it is counted")


def test_people_get_lines_and_may_turn_them_off(start: Start) -> None:
    with start("--executor", "oracle") as server:
        post(server, "/generate", BODY, "for-people")
        wait_until(lambda: "for-people" in server.output(), "it is logged")
        (line,) = [line for line in server.output().splitlines() if "for-people" in line]
        assert "INFO" in line and 'route="/generate" status=200' in line
        assert not line.startswith("{")
    with start("--executor", "oracle", "--log-level", "info,shard=debug") as server:
        post(server, "/generate", BODY, "for-people")
        ended = 'answered after 5 tokens request_id="for-people"'
        wait_until(lambda: ended in server.output(), "the shard logs it")
    with start("--executor", "oracle", "--log-level", "info,access=off") as server:
        post(server, "/generate", BODY, "unseen")
        assert server.metrics()["tgi_request_success"] == 1
    assert "unseen" not in server.output()
    assert "INFO" in server.output()


@pytest.mark.parametrize("form", [["--json-output"], []], ids=["json", "people"])
def test_a_log_that_nobody_reads_holds_up_no_request(tmp_path: Path, form: list[str]) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    flags = ("--executor", "oracle", "--log-level", "debug", *form)
    try:
        with RunningServer(pipe, *flags) as server:
            # A pipe holds 64 kB: a few hundred of these lines, the shard's as well.
            for number in range(1000):
                body = {"inputs": "x", "parameters": {"max_new_tokens": 1}}
                assert post(server, "/generate", body, f"number-{number}").status_code == 200
    finally:
        os.close(reader)
