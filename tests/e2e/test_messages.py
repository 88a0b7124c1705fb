"""`/v1/messages` with the package `anthropic`: text, streams, turns, tools, structured output."""

from collections.abc import Iterator
from typing import Any

import anthropic
import pytest
from anthropic import Anthropic
from pydantic import BaseModel
from running_server import RunningServer
from texts import prose

ANSWER_TOKENS = 16
GREEDY: dict[str, Any] = {
    "model": "tgi",
    "max_tokens": ANSWER_TOKENS,
    "extra_body": {"temperature": 0},
}
WEATHER: Any = {
    "name": "get_weather",
    "description": "The weather of a city.",
    "input_schema": {
        "type": "object",
        "properties": {"city": {"type": "string", "enum": ["Paris", "Rome"]}},
        "required": ["city"],
        "additionalProperties": False,
    },
}


def connect(server: RunningServer) -> Anthropic:
    """A client that tries everything once."""
    return Anthropic(base_url=server.url, api_key="-", timeout=60.0, max_retries=0)


@pytest.fixture(scope="module")
def client(smollm: RunningServer) -> Iterator[Anthropic]:
    with connect(smollm) as client:
        yield client


def user(text: str) -> Any:
    """A message of the user."""
    return {"role": "user", "content": text}


def test_a_stream_ends_in_the_message_that_comes_whole(client: Anthropic) -> None:
    messages = [user("Name three rivers. " + prose(901, 20))]
    whole = client.messages.create(messages=messages, **GREEDY)
    with client.messages.stream(messages=messages, **GREEDY) as stream:
        text = "".join(stream.text_stream)
        final = stream.get_final_message()
    for message in (whole, final):
        (block,) = message.content
        assert block.type == "text" and block.text == text != ""
    assert (final.stop_reason, final.stop_sequence) == (whole.stop_reason, whole.stop_sequence)
    counts = client.messages.count_tokens(model="tgi", messages=messages)
    for message in (whole, final):
        usage = message.usage
        assert usage.cache_read_input_tokens is not None
        assert usage.cache_creation_input_tokens == 0
        assert usage.input_tokens + usage.cache_read_input_tokens == counts.input_tokens
    assert final.usage.input_tokens == 1, "all of a known prompt but one token was cached"


@pytest.mark.parametrize("server_name", ["oracle", "smollm"])
def test_every_turn_finds_its_history_in_the_cache(
    server_name: str, request: pytest.FixtureRequest
) -> None:
    server: RunningServer = request.getfixturevalue(server_name)
    messages: list[Any] = []
    prompt_tokens = 0
    with connect(server) as client:
        for turn in range(4):
            messages.append(user(prose(910 + turn, 15)))
            message = client.messages.create(messages=messages, **GREEDY)
            usage = message.usage
            assert usage.cache_read_input_tokens is not None
            assert usage.cache_read_input_tokens >= prompt_tokens
            prompt_tokens = usage.input_tokens + usage.cache_read_input_tokens
            assert prompt_tokens == len(server.chat_prompt(plain(messages)).ids)
            messages.append({"role": "assistant", "content": message.content})


def plain(messages: list[Any]) -> list[dict[str, str]]:
    """The messages as chat routes take them."""

    def text(content: Any) -> str:
        return content if isinstance(content, str) else "".join(block.text for block in content)

    return [{"role": m["role"], "content": text(m["content"])} for m in messages]


def test_the_reason_for_the_end_is_told(oracle: RunningServer) -> None:
    messages = [user(prose(920, 10))]
    with connect(oracle) as client:
        cut = client.messages.create(messages=messages, **GREEDY)
        assert (cut.stop_reason, cut.stop_sequence) == ("max_tokens", None)
        assert cut.content[0].type == "text"
        stop = cut.content[0].text[5:8]
        stopped = client.messages.create(
            messages=messages, stop_sequences=["never said", stop], **GREEDY
        )
    assert (stopped.stop_reason, stopped.stop_sequence) == ("stop_sequence", stop)
    assert stopped.content[0].type == "text"
    assert stopped.content[0].text == cut.content[0].text.split(stop)[0]


def test_a_system_text_comes_whole_or_in_blocks(client: Anthropic) -> None:
    cached: Any = {"type": "ephemeral"}
    blocks: Any = [
        {"type": "text", "text": "You are "},
        {"type": "text", "text": "brief.", "cache_control": cached},
    ]
    answers = [
        client.messages.create(system=system, messages=[user("Hi")], **GREEDY)
        for system in ("You are brief.", blocks)
    ]
    assert answers[0].content == answers[1].content
    counts = [
        client.messages.count_tokens(model="tgi", system=system, messages=[user("Hi")])
        for system in ("You are brief.", "You are very, very brief.")
    ]
    assert counts[0].input_tokens < counts[1].input_tokens


def test_a_tool_is_used_and_its_result_is_read(client: Anthropic) -> None:
    messages: list[Any] = [user("How is the weather in Rome?")]
    fields = GREEDY | {"max_tokens": 60}
    used = client.messages.create(
        messages=messages,
        tools=[WEATHER],
        tool_choice={"type": "any", "disable_parallel_tool_use": True},
        **fields,
    )
    assert used.stop_reason == "tool_use"
    block = used.content[0]
    assert block.type == "tool_use" and block.name == "get_weather"
    assert block.input["city"] in ("Paris", "Rome")
    result = {"type": "tool_result", "tool_use_id": block.id, "content": "sunny"}
    messages += [
        {"role": "assistant", "content": used.content},
        {"role": "user", "content": [result]},
    ]
    answer = client.messages.create(
        messages=messages, tools=[WEATHER], tool_choice={"type": "none"}, **GREEDY
    )
    assert [block.type for block in answer.content] == ["text"]
    assert answer.usage.cache_read_input_tokens


def test_the_arguments_of_a_use_are_streamed(client: Anthropic) -> None:
    with client.messages.stream(
        messages=[user("How is the weather in Rome?")],
        tools=[WEATHER],
        tool_choice={"type": "tool", "name": "get_weather"},
        **GREEDY | {"max_tokens": 60},
    ) as stream:
        pieces = [event.partial_json for event in stream if event.type == "input_json"]
        message = stream.get_final_message()
    assert len(pieces) > 1
    assert message.stop_reason == "tool_use"
    block = message.content[0]
    assert block.type == "tool_use" and block.input["city"] in ("Paris", "Rome")


class City(BaseModel):
    """What the answer is parsed as."""

    name: str
    is_large: bool


def test_answers_are_parsed_as_the_model_that_was_asked_for(client: Anthropic) -> None:
    message = client.messages.parse(
        messages=[user("Tell me about Rome.")],
        output_format=City,
        **GREEDY | {"max_tokens": 500},
    )
    assert isinstance(message.parsed_output, City)


def test_errors_are_the_clients_own(client: Anthropic) -> None:
    with pytest.raises(anthropic.BadRequestError) as refused:
        client.messages.create(messages=[user("Hi")], **GREEDY | {"max_tokens": 0})
    assert "max_tokens must be at least 1" in str(refused.value)
    image: Any = {"role": "user", "content": [{"type": "image", "source": {"type": "url"}}]}
    with pytest.raises(anthropic.BadRequestError, match="image"):
        client.messages.create(messages=[image], **GREEDY)
    with pytest.raises(anthropic.NotFoundError):
        client.messages.create(messages=[user("Hi")], **GREEDY | {"model": "claude-opus"})
