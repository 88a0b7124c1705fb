"""Tools on `/v1/chat/completions` with the package `openai`."""

import json
from collections.abc import Iterator
from typing import Any, Literal

import pytest
from openai import OpenAI
from pydantic import BaseModel
from running_server import RunningServer

GREEDY: dict[str, Any] = {"model": "tgi", "temperature": 0, "max_tokens": 100}
QUESTION: Any = {"role": "user", "content": "How is the weather in Rome?"}


class Place(BaseModel, extra="forbid"):
    """Where; its schema refers to itself through definitions."""

    city: Literal["Paris", "Rome"]


class Where(BaseModel, extra="forbid"):
    """Arguments of the tool."""

    place: Place


WEATHER: Any = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather of a city.",
        "parameters": Where.model_json_schema(),
    },
}
TIME: Any = {"type": "function", "function": {"name": "get_time", "description": "The time."}}
NAMED: Any = {"type": "function", "function": {"name": "get_weather"}}


@pytest.fixture(scope="module")
def client(smollm: RunningServer) -> Iterator[OpenAI]:
    with OpenAI(base_url=f"{smollm.url}/v1", api_key="-", timeout=60.0, max_retries=0) as client:
        yield client


def test_a_tool_is_called_and_its_result_is_used(client: OpenAI) -> None:
    messages: list[Any] = [QUESTION]
    called = client.chat.completions.create(
        messages=messages, tools=[TIME, WEATHER], tool_choice=NAMED, **GREEDY
    )
    choice = called.choices[0]
    assert choice.finish_reason == "tool_calls"
    assert choice.message.content is None
    assert choice.message.tool_calls is not None
    (call,) = choice.message.tool_calls
    assert call.type == "function" and call.function.name == "get_weather"
    Where.model_validate_json(call.function.arguments)
    messages += [
        choice.message.model_dump(exclude_none=True),
        {"role": "tool", "tool_call_id": call.id, "content": "sunny"},
    ]
    answered = client.chat.completions.create(
        messages=messages, tools=[TIME, WEATHER], tool_choice="none", **GREEDY
    )
    assert answered.choices[0].message.content
    assert answered.choices[0].message.tool_calls is None


def test_the_arguments_of_a_call_are_streamed(client: OpenAI) -> None:
    with client.chat.completions.stream(
        messages=[QUESTION],
        tools=[TIME, WEATHER],
        tool_choice="required",
        parallel_tool_calls=False,
        **GREEDY,
    ) as stream:
        kinds = [event.type for event in stream]
        final = stream.get_final_completion()
    assert kinds.count("tool_calls.function.arguments.delta") >= 1
    assert final.choices[0].finish_reason == "tool_calls"
    calls = final.choices[0].message.tool_calls
    assert calls is not None and len(calls) == 1
    assert calls[0].function.name in ("get_weather", "get_time")
    assert isinstance(json.loads(calls[0].function.arguments), dict)


def test_a_model_that_may_call_may_also_speak(client: OpenAI) -> None:
    answer = client.chat.completions.create(
        messages=[{"role": "user", "content": "Say hello."}],
        tools=[WEATHER],
        tool_choice="auto",
        **GREEDY,
    )
    choice = answer.choices[0]
    assert choice.message.content or choice.message.tool_calls
    is_call = choice.message.tool_calls is not None
    assert (choice.finish_reason == "tool_calls") <= is_call
