"""The clients that people use, behind one call each: messages in, text and usage out."""

import json
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import pytest
from huggingface_hub import InferenceClient
from openai import OpenAI

ROOT = Path(__file__).parents[2]
TEXT_GENERATION_PYTHON = ROOT / ".venv-text-generation" / "bin" / "python"
TIMEOUT = 60.0

Messages = list[dict[str, str]]


class ChatClient(Protocol):
    """One turn of a conversation by some client."""

    def chat(self, messages: Messages, max_tokens: int) -> tuple[str, dict[str, Any]]:
        """The greedy answer's text, and `usage` as JSON."""
        ...

    def close(self) -> None:
        """End what the client holds open."""
        ...


class OpenAIClient:
    """The package `openai`."""

    def __init__(self, url: str) -> None:
        self._client = OpenAI(base_url=f"{url}/v1", api_key="-", timeout=TIMEOUT, max_retries=0)

    def chat(self, messages: Messages, max_tokens: int) -> tuple[str, dict[str, Any]]:
        """See `ChatClient`."""
        answer = self._client.chat.completions.create(
            model="tgi",
            messages=messages,  # type: ignore[arg-type]
            max_tokens=max_tokens,
            temperature=0,
        )
        assert answer.usage is not None
        return answer.choices[0].message.content or "", answer.usage.model_dump()

    def close(self) -> None:
        """Close the connections."""
        self._client.close()


class HubClient:
    """`InferenceClient` of the package `huggingface_hub`."""

    def __init__(self, url: str) -> None:
        self._client = InferenceClient(base_url=url, timeout=TIMEOUT)

    def chat(self, messages: Messages, max_tokens: int) -> tuple[str, dict[str, Any]]:
        """See `ChatClient`."""
        answer = self._client.chat_completion(messages, max_tokens=max_tokens, temperature=0)
        return answer.choices[0].message.content or "", dict(answer.usage)

    def close(self) -> None:
        """Nothing of its own is open."""


class TextGenerationClient:
    """The package `text-generation`, in a process of its own."""

    def __init__(self, url: str) -> None:
        if not TEXT_GENERATION_PYTHON.exists():
            pytest.skip("the environment .venv-text-generation is absent: `make test` creates it")
        self._driver = subprocess.Popen(
            [TEXT_GENERATION_PYTHON, Path(__file__).parent / "text_generation_driver.py", url],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def call(self, name: str, **arguments: Any) -> dict[str, Any]:
        """One call of the driver."""
        assert self._driver.stdin is not None and self._driver.stdout is not None
        print(json.dumps({"call": name} | arguments), file=self._driver.stdin, flush=True)
        line = self._driver.stdout.readline()
        assert line, "the driver ended: its standard error says why"
        result: dict[str, Any] = json.loads(line)
        return result

    def chat(self, messages: Messages, max_tokens: int) -> tuple[str, dict[str, Any]]:
        """See `ChatClient`."""
        result = self.call("chat", messages=messages, max_tokens=max_tokens)
        return result["text"], result["raw"]["usage"]

    def close(self) -> None:
        """End the process."""
        self._driver.communicate(timeout=TIMEOUT)


CLIENTS: dict[str, Callable[[str], ChatClient]] = {
    "openai": OpenAIClient,
    "huggingface_hub": HubClient,
    "text-generation": TextGenerationClient,
}


@contextmanager
def connect(name: str, url: str) -> Iterator[ChatClient]:
    """A client of the server at `url`."""
    client = CLIENTS[name](url)
    try:
        yield client
    finally:
        client.close()
