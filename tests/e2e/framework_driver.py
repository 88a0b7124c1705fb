"""Runs the frameworks' clients in their own environment: JSON lines in, JSON lines out.

Usage: `python framework_driver.py URL`; each line on standard input is one call (`call` and its
arguments), each line on standard output its result. The calls say things as these frameworks' own
guides do.
"""

import asyncio
import json
import sys
from typing import Literal

import litellm
from langchain_huggingface import ChatHuggingFace, HuggingFaceEndpoint
from langchain_openai import ChatOpenAI, OpenAI
from pydantic import BaseModel

KEY = "-"


class Place(BaseModel):
    """A city."""

    city: Literal["Paris", "Rome"]


def get_weather(city: str) -> str:
    """The weather of a city."""
    return city


def chat_openai(url, max_tokens):
    return ChatOpenAI(
        base_url=f"{url}/v1", api_key=KEY, model="tgi", temperature=0, max_tokens=max_tokens
    )


def whole(message):
    usage = message.usage_metadata
    return {"text": message.content, "tokens": [usage["input_tokens"], usage["output_tokens"]]}


def streamed(chunks):
    pieces = [chunk if isinstance(chunk, str) else chunk.content for chunk in chunks]
    return {"text": "".join(pieces), "pieces": len(pieces)}


def langchain_openai_chat(url, text, max_tokens):
    return whole(chat_openai(url, max_tokens).invoke(text))


def langchain_openai_async(url, text, max_tokens):
    return whole(asyncio.run(chat_openai(url, max_tokens).ainvoke(text)))


def langchain_openai_stream(url, text, max_tokens):
    return streamed(chat_openai(url, max_tokens).stream(text))


def langchain_openai_responses(url, text, max_tokens):
    model = chat_openai(url, max_tokens).model_copy(update={"use_responses_api": True})
    message = model.invoke(text)
    return whole(message) | {"text": message.text}


def langchain_openai_completion(url, text, max_tokens):
    model = OpenAI(
        base_url=f"{url}/v1", api_key=KEY, model="tgi", temperature=0, max_tokens=max_tokens
    )
    return {"text": model.invoke(text)}


def langchain_openai_tool(url, text, max_tokens):
    model = chat_openai(url, max_tokens).bind_tools([get_weather], tool_choice="get_weather")
    return {"calls": model.invoke(text).tool_calls}


def langchain_openai_structured(url, text, max_tokens):
    model = chat_openai(url, max_tokens).with_structured_output(Place, method="json_schema")
    return {"city": model.invoke(text).city}


def endpoint(url, max_tokens):
    # It always samples; from one token that is the likeliest one.
    return HuggingFaceEndpoint(
        endpoint_url=url, max_new_tokens=max_tokens, top_k=1, huggingfacehub_api_token=KEY
    )


def langchain_huggingface_text(url, text, max_tokens):
    return {"text": endpoint(url, max_tokens).invoke(text)}


def langchain_huggingface_stream(url, text, max_tokens):
    return streamed(endpoint(url, max_tokens).stream(text))


def langchain_huggingface_chat(url, text, max_tokens):
    model = ChatHuggingFace(llm=endpoint(url, max_tokens), model_id="tgi")
    return whole(model.invoke(text, temperature=0, max_tokens=max_tokens))


def of_litellm(answer):
    usage = answer.usage
    return {
        "text": answer.choices[0].message.content,
        "tokens": [usage.prompt_tokens, usage.completion_tokens],
    }


def asked_of_litellm(model, base, text, max_tokens):
    return {
        "model": model,
        "api_base": base,
        "api_key": KEY,
        "messages": [{"role": "user", "content": text}],
        "temperature": 0,
        "max_tokens": max_tokens,
    }


def litellm_openai(url, text, max_tokens):
    asked = asked_of_litellm("openai/tgi", f"{url}/v1", text, max_tokens)
    return of_litellm(litellm.completion(**asked))


def litellm_async(url, text, max_tokens):
    asked = asked_of_litellm("openai/tgi", f"{url}/v1", text, max_tokens)
    return of_litellm(asyncio.run(litellm.acompletion(**asked)))


def litellm_stream(url, text, max_tokens):
    asked = asked_of_litellm("openai/tgi", f"{url}/v1", text, max_tokens)
    chunks = litellm.completion(**asked, stream=True)
    return streamed(chunk.choices[0].delta.content or "" for chunk in chunks)


def litellm_huggingface(url, text, max_tokens):
    asked = asked_of_litellm("huggingface/tgi", url, text, max_tokens)
    return of_litellm(litellm.completion(**asked))


def litellm_anthropic(url, text, max_tokens):
    asked = asked_of_litellm("anthropic/tgi", url, text, max_tokens)
    return of_litellm(litellm.completion(**asked))


CALLS = {
    call.__name__: call
    for call in (
        langchain_openai_chat,
        langchain_openai_async,
        langchain_openai_stream,
        langchain_openai_responses,
        langchain_openai_completion,
        langchain_openai_tool,
        langchain_openai_structured,
        langchain_huggingface_text,
        langchain_huggingface_stream,
        langchain_huggingface_chat,
        litellm_openai,
        litellm_async,
        litellm_stream,
        litellm_huggingface,
        litellm_anthropic,
    )
}


def main():
    # Some of them print what their users should read.
    results, sys.stdout = sys.stdout, sys.stderr
    for line in sys.stdin:
        arguments = json.loads(line)
        try:
            result = CALLS[arguments.pop("call")](sys.argv[1], **arguments)
        except Exception as error:
            result = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(result), file=results, flush=True)


main()
