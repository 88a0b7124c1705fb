"""What the server tells about a prompt: log probabilities, and how far a long prefill is. And marks
on what it generates."""

import itertools
import json
import math
from typing import Any

import httpx2
import pytest
from running_server import RunningServer, native_request
from texts import prose

LONG = prose(21, 2500)


def whole(server: RunningServer, prompt: str, length: int, **parameters: Any) -> dict[str, Any]:
    body = native_request(prompt, length, **parameters)
    return dict(server.http.post("/generate", json=body).raise_for_status().json())


def events(server: RunningServer, path: str, body: dict[str, Any]) -> list[dict[str, Any]]:
    with server.http.stream("POST", path, json=body) as response:
        response.raise_for_status()
        data = [event.data for event in httpx2.EventSource(response)]
    return [json.loads(datum) for datum in data if datum != "[DONE]"]


@pytest.mark.parametrize("server_name", ["smollm", "oracle"])
def test_a_prompt_scores_as_it_did_when_it_was_generated(
    server_name: str, request: pytest.FixtureRequest
) -> None:
    server: RunningServer = request.getfixturevalue(server_name)
    prompt = prose(22, 40)
    answer = whole(server, prompt, 20)
    # The cache has all of it by now.
    details = whole(server, prompt, 20, decoder_input_details=True)["details"]
    assert details["cached_tokens"] == 0
    assert details["tokens"] == answer["details"]["tokens"]
    again = whole(server, prompt + answer["generated_text"], 1, decoder_input_details=True)
    prefill = again["details"]["prefill"]
    ids = server.tokenize(prompt + answer["generated_text"])
    assert [token["id"] for token in prefill] == ids
    assert "".join(token["text"] for token in prefill) == prompt + answer["generated_text"]
    assert prefill[0]["logprob"] is None
    drawn = answer["details"]["tokens"]
    known = prefill[len(ids) - len(drawn) :]
    assert [t["id"] for t in known] == [t["id"] for t in drawn], "the text splits as it was drawn"
    assert [t["logprob"] for t in known] == [t["logprob"] for t in drawn]
    assert prefill[: len(ids) - len(drawn)] == details["prefill"]


def test_the_prompt_is_told_alone_and_with_every_answer(smollm: RunningServer) -> None:
    body = native_request("Name a river", 3, decoder_input_details=True, details=False)
    response = smollm.http.post("/generate", json=body).raise_for_status()
    prefill = response.json()["details"]["prefill"]
    best = {"best_of": 2, "do_sample": True, "decoder_input_details": True}
    details = whole(smollm, "Name a river", 3, **best)["details"]
    assert details["prefill"] == details["best_of_sequences"][0]["prefill"] == prefill
    assert whole(smollm, "Name a river", 3)["details"]["prefill"] == []


def test_a_stream_cannot_tell_the_prompt(oracle: RunningServer) -> None:
    body = native_request("x", 3, decoder_input_details=True)
    response = oracle.http.post("/generate_stream", json=body)
    assert response.status_code == 422
    assert "decoder_input_details cannot be streamed" in response.json()["error"]


def check_reports(reports: list[dict[str, Any]]) -> None:
    assert reports, "a prefill of this length takes longer than 250 ms"
    done = [report["done"] for report in reports]
    assert done == sorted(done)
    for report in reports:
        assert 0 <= report["cached"] <= report["done"] < report["total"]
        assert report["eta"] >= 0


def test_a_long_prefill_tells_how_far_it_is(smollm: RunningServer) -> None:
    body = native_request("native " + LONG, 3, prefill_progress=True)
    native = events(smollm, "/generate_stream", body)
    reports = [event["prefill"] for event in native if "prefill" in event]
    check_reports(reports)
    assert native[: len(reports)] == [{"prefill": report} for report in reports]
    assert [event["index"] for event in native[len(reports) :]] == [1, 2, 3]

    options = {"include_usage": True, "prefill_progress": True}
    chat = {
        "messages": [{"role": "user", "content": "chat " + LONG}],
        "max_tokens": 3,
        "stream": True,
        "stream_options": options,
    }
    chunks = events(smollm, "/v1/chat/completions", chat)
    told = [chunk for chunk in chunks if "prefill" in chunk]
    check_reports([chunk["prefill"] for chunk in told])
    assert all(chunk["choices"] == [] and chunk["id"] == chunks[0]["id"] for chunk in told)


def test_no_client_meets_a_report_unasked(smollm: RunningServer) -> None:
    body = native_request("unasked " + LONG, 3)
    assert all("token" in event for event in events(smollm, "/generate_stream", body))
    refused = smollm.http.post("/generate", json=native_request("x", 1, prefill_progress=True))
    assert refused.status_code == 422
    assert "prefill_progress needs a stream" in refused.json()["error"]


def is_green(last: int, token: int, gamma: float = 0.5) -> bool:
    """The watermark's rule, written once more."""
    mask = 2**64 - 1
    mixed = ((last << 32 | token) + 0x9E3779B97F4A7C15) & mask
    mixed = ((mixed ^ mixed >> 30) * 0xBF58476D1CE4E5B9) & mask
    mixed = ((mixed ^ mixed >> 27) * 0x94D049BB133111EB) & mask
    return ((mixed ^ mixed >> 31) >> 11) / 2**53 < gamma


def test_a_watermark_can_be_found_and_is_absent_by_default(smollm: RunningServer) -> None:
    scores = {}
    for watermark in (True, False):
        sampling = {"do_sample": True, "seed": 11, "ignore_eos": True, "watermark": watermark}
        details = whole(smollm, "Tell me a story.", 150, **sampling)["details"]
        ids = [token["id"] for token in details["tokens"]]
        pairs = list(itertools.pairwise(ids))
        green = sum(is_green(*pair) for pair in pairs)
        scores[watermark] = (green - len(pairs) / 2) / math.sqrt(len(pairs) / 4)
    assert scores[True] > 4 > abs(scores[False]), scores
