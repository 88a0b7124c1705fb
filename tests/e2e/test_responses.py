"""`/v1/responses` with the package `openai`: text, streams, chains, tools, structured output."""

import json
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from openai import OpenAI
from openai.types.responses import Response
from pydantic import BaseModel
from running_server import RunningServer
from texts import prose

ANSWER_TOKENS = 16
GREEDY: dict[str, Any] = {"model": "tgi", "temperature": 0, "max_output_tokens": ANSWER_TOKENS}
WEATHER: Any = {
    "type": "function",
    "name": "get_weather",
    "description": "The weather of a city.",
    "parameters": {
        "type": "object",
        "properties": {"city": {"type": "string", "enum": ["Paris", "Rome"]}},
        "required": ["city"],
        "additionalProperties": False,
    },
    "strict": True,
}


def connect(server: RunningServer) -> OpenAI:
    """A client that tries everything once."""
    return OpenAI(base_url=f"{server.url}/v1", api_key="-", timeout=60.0, max_retries=0)


@pytest.fixture(scope="module")
def client(smollm: RunningServer) -> Iterator[OpenAI]:
    with connect(smollm) as client:
        yield client


def test_a_stream_ends_in_the_response_that_comes_whole(client: OpenAI) -> None:
    asked = "Name three rivers. " + prose(801, 20)
    whole = client.responses.create(input=asked, **GREEDY)
    deltas: list[str] = []
    kinds: list[str] = []
    final: Response | None = None
    for event in client.responses.create(input=asked, stream=True, **GREEDY):
        assert event.sequence_number == len(kinds)
        kinds.append(event.type)
        if event.type == "response.output_text.delta":
            deltas.append(event.delta)
        elif event.type in ("response.completed", "response.incomplete"):
            final = event.response
    assert kinds[:4] == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
    ]
    assert final is not None and whole.usage is not None and final.usage is not None
    assert "".join(deltas) == final.output_text == whole.output_text != ""
    assert final.status == whole.status
    assert final.usage.input_tokens == whole.usage.input_tokens
    assert final.usage.output_tokens == whole.usage.output_tokens
    assert final.usage.input_tokens_details.cached_tokens == whole.usage.input_tokens - 1


def test_a_cut_answer_is_incomplete(oracle: RunningServer) -> None:
    with connect(oracle) as client:
        cut = client.responses.create(input=prose(802, 10), **GREEDY)
    assert (cut.status, cut.incomplete_details and cut.incomplete_details.reason) == (
        "incomplete",
        "max_output_tokens",
    )
    assert cut.usage is not None and cut.usage.output_tokens == ANSWER_TOKENS


@pytest.mark.parametrize("server_name", ["oracle", "smollm"])
def test_a_chain_finds_its_history_in_the_cache(
    server_name: str, request: pytest.FixtureRequest
) -> None:
    server: RunningServer = request.getfixturevalue(server_name)
    messages: list[dict[str, str]] = []
    previous: str | None = None
    before = 0
    with connect(server) as client:
        for turn in range(4):
            text = prose(810 + turn, 15)
            messages.append({"role": "user", "content": text})
            response = client.responses.create(
                input=text, previous_response_id=previous, store=True, **GREEDY
            )
            assert response.usage is not None
            usage = response.usage
            prompt = server.chat_prompt(messages)
            assert usage.input_tokens == len(prompt.ids), "the chain is the whole conversation"
            assert usage.input_tokens_details.cached_tokens >= before
            before = usage.input_tokens
            messages.append({"role": "assistant", "content": response.output_text})
            previous = response.id


def test_responses_are_retrieved_until_they_are_deleted(
    client: OpenAI, smollm: RunningServer
) -> None:
    kept = smollm.metrics()["tgi_stored_responses"]
    response = client.responses.create(input="Hi", metadata={"a": "b"}, **GREEDY)
    assert smollm.metrics()["tgi_stored_responses"] == kept + 1
    assert client.responses.retrieve(response.id) == response
    client.responses.delete(response.id)
    assert smollm.metrics()["tgi_stored_responses"] == kept
    with pytest.raises(openai.NotFoundError) as gone:
        client.responses.retrieve(response.id)
    assert gone.value.code == "response_not_found"
    with pytest.raises(openai.NotFoundError):
        client.responses.create(input="And?", previous_response_id=response.id, **GREEDY)
    unkept = client.responses.create(input="Hi", store=False, **GREEDY)
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(unkept.id)


def test_a_tool_is_called_and_its_result_is_used(client: OpenAI) -> None:
    fields = GREEDY | {"max_output_tokens": 60}
    called = client.responses.create(
        input="How is the weather in Rome?",
        tools=[WEATHER],
        tool_choice="required",
        parallel_tool_calls=False,
        **fields,
    )
    assert called.status == "completed"
    call = called.output[0]
    assert call.type == "function_call"
    assert call.name == "get_weather"
    assert json.loads(call.arguments)["city"] in ("Paris", "Rome")
    result: Any = {"type": "function_call_output", "call_id": call.call_id, "output": "sunny"}
    answered = client.responses.create(
        input=[result],
        previous_response_id=called.id,
        tools=[WEATHER],
        tool_choice="none",
        **GREEDY,
    )
    assert [item.type for item in answered.output] == ["message"]
    assert answered.output_text
    assert answered.usage is not None and answered.usage.input_tokens_details.cached_tokens > 0


def test_the_arguments_of_a_call_are_streamed(client: OpenAI) -> None:
    fields = GREEDY | {"max_output_tokens": 60}
    kinds: list[str] = []
    with client.responses.stream(
        input="How is the weather in Rome?",
        tools=[WEATHER],
        tool_choice={"type": "function", "name": "get_weather"},
        **fields,
    ) as stream:
        for event in stream:
            kinds.append(event.type)
            if event.type == "response.function_call_arguments.delta":
                snapshot = event.snapshot
            elif event.type == "response.function_call_arguments.done":
                assert event.arguments == snapshot
        final = stream.get_final_response()
    assert kinds.count("response.function_call_arguments.delta") > 1
    call = final.output[0]
    assert call.type == "function_call" and call.arguments == snapshot
    assert json.loads(snapshot)["city"] in ("Paris", "Rome")


class City(BaseModel):
    """What the answer is parsed as."""

    name: str
    is_large: bool


def test_answers_are_parsed_as_the_model_that_was_asked_for(client: OpenAI) -> None:
    parsed = client.responses.parse(
        model="tgi", input="Tell me about Rome.", text_format=City, temperature=0
    )
    assert isinstance(parsed.output_parsed, City)
    whole = client.responses.create(
        input="Tell me about Rome.", text={"format": {"type": "json_object"}}, **GREEDY
    )
    assert whole.text is not None and whole.text.format is not None
    assert whole.text.format.type == "json_object"
    assert whole.output_text.lstrip().startswith("{")


def test_what_is_not_supported_names_the_field(client: OpenAI) -> None:
    with pytest.raises(openai.APIStatusError) as refused:
        client.responses.create(input="Hi", background=True, **GREEDY)
    assert refused.value.param == "background"  # type: ignore[attr-defined]
    with pytest.raises(openai.APIStatusError) as refused:
        client.responses.create(input="Hi", tools=[{"type": "web_search"}], **GREEDY)
    assert refused.value.param == "tools"  # type: ignore[attr-defined]
