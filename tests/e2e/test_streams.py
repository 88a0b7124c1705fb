"""What a stream's client sees before and around its tokens."""

from typing import Any

import httpx2
import pytest
from running_server import RunningServer, native_request, wait_until
from texts import prose

ROUTES = [
    "/generate_stream",
    "/v1/completions",
    "/v1/chat/completions",
    "/v1/responses",
    "/v1/messages",
]
IN_FLIGHT = "tgi_requests_in_flight"
# A second of prefill or more.
NUM_WORDS = 3500


def body_of(route: str, prompt: str) -> dict[str, Any]:
    """A stream of two tokens."""
    match route:
        case "/generate_stream":
            return native_request(prompt, 2)
        case "/v1/completions":
            return {"prompt": prompt, "stream": True, "max_tokens": 2}
        case "/v1/responses":
            return {"input": prompt, "stream": True, "max_output_tokens": 16}
    message = {"role": "user", "content": prompt}
    return {"model": "tgi", "messages": [message], "stream": True, "max_tokens": 2}


@pytest.mark.parametrize("route", ROUTES)
def test_a_stream_begins_while_its_prompt_is_computed(smollm: RunningServer, route: str) -> None:
    body = body_of(route, prose(70 + ROUTES.index(route), NUM_WORDS))
    with smollm.http.stream("POST", route, json=body) as response:
        assert response.status_code == 200
        # Its prompt takes a second or more, its answer next to nothing.
        wait_until(lambda: smollm.metrics()[IN_FLIGHT] == 1.0, "the prompt is being computed")
        ids = [event.id for event in httpx2.EventSource(response)]
    assert ids == [str(number) for number in range(1, len(ids) + 1)]
    assert len(ids) >= 2
