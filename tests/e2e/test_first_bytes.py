"""A stream begins when its request is admitted, not when its first token is there."""

from typing import Any

import pytest
from running_server import RunningServer, native_request, wait_until
from texts import prose

LONG_WORDS = 5000


def streams(prompt: str) -> dict[str, dict[str, Any]]:
    """A streamed request by route."""
    native = native_request(prompt, 4)
    chat = {"messages": [{"role": "user", "content": prompt}], "max_tokens": 4, "stream": True}
    return {
        "/generate_stream": native,
        "/": native | {"stream": True},
        "/v1/chat/completions": chat,
        "/v1/completions": {"prompt": prompt, "max_tokens": 4, "stream": True},
        "/v1/responses": {"input": prompt, "max_output_tokens": 4, "stream": True},
        "/v1/messages": chat | {"model": "tgi"},
    }


def wait_idle(server: RunningServer) -> float:
    """Waits until nothing runs; tokens generated until then."""

    def is_idle() -> bool:
        metrics = server.metrics()
        return metrics["tgi_batch_current_size"] == 0 and metrics["tgi_queue_size"] == 0

    wait_until(is_idle, "nothing runs")
    return server.metrics().get("tgi_generated_tokens", 0.0)


@pytest.mark.parametrize("route", list(streams("")))
def test_the_first_bytes_come_before_a_long_prefill_is_done(
    smollm: RunningServer, route: str
) -> None:
    before = wait_idle(smollm)
    body = streams(prose(sum(route.encode()), LONG_WORDS))[route]
    with smollm.http.stream("POST", route, json=body) as response:
        assert response.status_code == 200
        assert next(response.iter_raw()).startswith(b": admitted\n\n")
    # The client left amid the prefill: no token was drawn for it.
    assert wait_idle(smollm) == before


@pytest.mark.parametrize("route", list(streams("")))
def test_what_is_refused_before_it_is_admitted_has_its_own_status(
    smollm: RunningServer, route: str
) -> None:
    body = streams(prose(1, 9000))[route]
    response = smollm.http.post(route, json=body)
    assert response.status_code in (400, 413, 422), response.text
    assert response.headers["content-type"].startswith("application/json")
