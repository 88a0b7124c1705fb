"""Streams that run together give what each gives alone."""

import random
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from running_server import RunningServer, Start, native_request
from texts import prose

TIE_NATS = 1e-3
"""Two tokens this close may swap: rounding depends on what else a step computes."""


def mixed_requests(count: int, longest: int) -> list[tuple[str, int]]:
    """Prompts and answer lengths, short and long; every fourth prompt begins like its neighbour."""
    draw = random.Random(32)
    requests: list[tuple[str, int]] = []
    for number in range(count):
        text = prose(9000 + number, draw.randint(4, longest))
        if number % 4 == 3:
            text = requests[-1][0] + " " + text
        requests.append((text, draw.randint(4, 48)))
    return requests


def tokens_of(server: RunningServer, prompt: str, length: int) -> list[dict[str, Any]]:
    """Tokens of an answer, each with the most likely ones and their probabilities beside it."""
    body = native_request(prompt, length, ignore_eos=True, top_n_tokens=2)
    answer = server.http.post("/generate", json=body).raise_for_status().json()
    details: dict[str, Any] = answer["details"]
    return [
        {"id": token["id"], "top": top}
        for token, top in zip(details["tokens"], details["top_tokens"], strict=True)
    ]


def stream_ids(server: RunningServer, prompt: str, length: int) -> list[int]:
    """Ids of a streamed answer."""
    with server.stream(prompt, length) as events:
        return [event["token"]["id"] for event in events]


def test_32_streams_are_bit_equal_to_each_alone_on_the_oracle(
    oracle: RunningServer, start: Start
) -> None:
    requests = mixed_requests(32, 3000)
    with ThreadPoolExecutor(32) as pool:
        together = list(pool.map(lambda request: stream_ids(oracle, *request), requests))
    # A second server has nothing of the first one's cache.
    with start("--executor", "oracle", "--prefix-caching", "false") as fresh:
        alone = [stream_ids(fresh, *request) for request in requests]
    assert [len(ids) for ids in together] == [length for _, length in requests]
    assert together == alone


def test_32_streams_are_bit_equal_to_each_alone_on_native_kernels(smollm: RunningServer) -> None:
    requests = [(text, min(length, 24)) for text, length in mixed_requests(32, 200)]
    together = answers_together(smollm, requests)
    assert together == [tokens_of(smollm, *request) for request in requests]


def test_32_answers_of_torch_differ_from_each_alone_only_in_ties(start: Start) -> None:
    requests = [(text, min(length, 12)) for text, length in mixed_requests(32, 60)]
    flags = ("--executor", "torch", "--dtype", "float32", "--prefix-caching", "false")
    with start(*flags) as server:
        together = answers_together(server, requests)
        for request, answer in zip(requests, together, strict=True):
            assert_equal_but_for_ties(tokens_of(server, *request), answer)


def answers_together(
    server: RunningServer, requests: list[tuple[str, int]]
) -> list[list[dict[str, Any]]]:
    """The answers to requests that are all sent at once."""
    with ThreadPoolExecutor(len(requests)) as pool:
        return list(pool.map(lambda request: tokens_of(server, *request), requests))


def assert_equal_but_for_ties(alone: list[dict[str, Any]], together: list[dict[str, Any]]) -> None:
    """Equal ids up to the first place where the two likeliest tokens were as good as equal."""
    for position, (a, b) in enumerate(zip(alone, together, strict=True)):
        if a["id"] != b["id"]:
            first, second = (token["logprob"] for token in a["top"])
            assert first - second < TIE_NATS, f"token {position}: {a} alone, {b} together"
            return
