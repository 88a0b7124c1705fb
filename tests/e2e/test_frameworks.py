"""LangChain and LiteLLM as their users have them: the answers are those of the plain routes."""

import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from running_server import PATIENCE_SECONDS, RunningServer
from texts import prose

HERE = Path(__file__).parent
PYTHON = HERE.parents[1] / ".venv-conformance-clients" / "bin" / "python"
TOKENS = 12

Call = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module")
def call(smollm: RunningServer) -> Iterator[Call]:
    """Calls of `framework_driver.py`."""
    if not PYTHON.exists():
        pytest.skip("the environment .venv-conformance-clients is absent: `make test` creates it")
    # Without it LiteLLM looks for prices on the internet.
    offline = "LITELLM_LOCAL_MODEL_COST_MAP=True"
    driver = subprocess.Popen(
        ["env", offline, PYTHON, HERE / "framework_driver.py", smollm.url],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert driver.stdin is not None and driver.stdout is not None
    stdin, stdout = driver.stdin, driver.stdout

    def ask(name: str, text: str, max_tokens: int = TOKENS) -> dict[str, Any]:
        print(json.dumps({"call": name, "text": text, "max_tokens": max_tokens}), file=stdin)
        stdin.flush()
        line = stdout.readline()
        assert line, "the driver ended: its standard error says why"
        result: dict[str, Any] = json.loads(line)
        assert "error" not in result, result["error"]
        return result

    yield ask
    driver.communicate(timeout=PATIENCE_SECONDS)


WHOLE = (
    "langchain_openai_chat",
    "langchain_openai_async",
    "langchain_openai_responses",
    "langchain_huggingface_chat",
    "litellm_openai",
    "litellm_async",
    "litellm_huggingface",
    "litellm_anthropic",
)


@pytest.mark.parametrize("name", WHOLE)
def test_a_chat_is_answered_as_by_the_route(call: Call, smollm: RunningServer, name: str) -> None:
    text = "Name three rivers. " + prose(1301, 10)
    prompt = smollm.chat_prompt([{"role": "user", "content": text}])
    answer = smollm.generate(prompt.text, TOKENS)
    told = call(name, text)
    assert told["text"].strip() == answer.text.strip() != ""
    assert told["tokens"] == [len(prompt.ids), len(answer.ids)]


@pytest.mark.parametrize("name", ["langchain_openai_stream", "litellm_stream"])
def test_a_streamed_chat_adds_up(call: Call, smollm: RunningServer, name: str) -> None:
    text = "Name three rivers. " + prose(1301, 10)
    prompt = smollm.chat_prompt([{"role": "user", "content": text}])
    told = call(name, text)
    assert told["text"] == smollm.generate(prompt.text, TOKENS).text
    assert told["pieces"] >= TOKENS


@pytest.mark.parametrize(
    "name",
    [
        "langchain_openai_completion",
        "langchain_huggingface_text",
        "langchain_huggingface_stream",
    ],
)
def test_a_text_is_continued_as_by_the_route(call: Call, smollm: RunningServer, name: str) -> None:
    text = prose(1302, 20)
    assert call(name, text)["text"] == smollm.generate(text, TOKENS).text


def test_a_tool_is_called(call: Call) -> None:
    (made,) = call("langchain_openai_tool", "How is the weather in Rome?", 60)["calls"]
    assert made["name"] == "get_weather"
    assert made["id"] and isinstance(made["args"]["city"], str)


def test_an_answer_is_parsed_as_the_model_that_was_asked_for(call: Call) -> None:
    told = call("langchain_openai_structured", "Where is the Colosseum?", 60)
    assert told["city"] in ("Paris", "Rome")
