"""The clients' asynchronous halves, several calls at once on one client, as in a web service."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from anthropic import AsyncAnthropic
from huggingface_hub import AsyncInferenceClient
from openai import AsyncOpenAI
from running_server import RunningServer
from texts import prose

TOKENS = 8
AT_ONCE = 4

Ask = Callable[[str, list[Any]], Awaitable[str]]


async def openai(url: str, messages: list[Any]) -> str:
    """A streamed chat of the package `openai`."""
    async with AsyncOpenAI(base_url=f"{url}/v1", api_key="-", max_retries=0) as client:
        async with client.chat.completions.stream(
            model="tgi", messages=messages, temperature=0, max_tokens=TOKENS
        ) as stream:
            events = [event async for event in stream]
    return "".join(event.delta for event in events if event.type == "content.delta")


async def openai_responses(url: str, messages: list[Any]) -> str:
    """A streamed response of the package `openai`."""
    async with AsyncOpenAI(base_url=f"{url}/v1", api_key="-", max_retries=0) as client:
        async with client.responses.stream(
            model="tgi", input=messages, temperature=0, max_output_tokens=TOKENS
        ) as stream:
            events = [event async for event in stream]
    return "".join(event.delta for event in events if event.type == "response.output_text.delta")


async def anthropic(url: str, messages: list[Any]) -> str:
    """A streamed message of the package `anthropic`."""
    async with AsyncAnthropic(base_url=url, api_key="-", max_retries=0) as client:
        async with client.messages.stream(
            model="tgi", messages=messages, max_tokens=TOKENS, extra_body={"temperature": 0}
        ) as stream:
            return "".join([text async for text in stream.text_stream])


async def hub(url: str, messages: list[Any]) -> str:
    """A streamed chat of the package `huggingface_hub`."""
    async with AsyncInferenceClient(base_url=url) as client:
        chunks = await client.chat_completion(
            messages, stream=True, max_tokens=TOKENS, temperature=0
        )
        return "".join([chunk.choices[0].delta.content or "" async for chunk in chunks])


@pytest.mark.parametrize("ask", [openai, openai_responses, anthropic, hub])
def test_streams_at_once_are_those_of_the_plain_route(smollm: RunningServer, ask: Ask) -> None:
    chats = [[{"role": "user", "content": prose(1400 + i, 12)}] for i in range(AT_ONCE)]

    async def all_at_once() -> list[str]:
        return await asyncio.gather(*(ask(smollm.url, messages) for messages in chats))

    expected = [smollm.generate(smollm.chat_prompt(chat).text, TOKENS).text for chat in chats]
    assert asyncio.run(all_at_once()) == expected
    assert all(expected)


def test_the_hubs_client_continues_a_text_natively(smollm: RunningServer) -> None:
    prompt = prose(1410, 15)
    expected = smollm.generate(prompt, TOKENS)

    async def both() -> tuple[Any, list[str]]:
        async with AsyncInferenceClient(model=smollm.url) as client:
            whole = await client.text_generation(prompt, details=True, max_new_tokens=TOKENS)
            stream = await client.text_generation(prompt, stream=True, max_new_tokens=TOKENS)
            return whole, [piece async for piece in stream]

    whole, pieces = asyncio.run(both())
    assert whole.generated_text == "".join(pieces) == expected.text
    assert [token.id for token in whole.details.tokens] == expected.ids
