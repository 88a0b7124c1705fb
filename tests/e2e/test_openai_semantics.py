"""What OpenAI's own client makes of refusals, of log probabilities and of a prompt's ending."""

from collections.abc import Iterator
from typing import Any

import openai
import pytest
from openai import OpenAI
from running_server import RunningServer
from texts import prose

MESSAGES: Any = [{"role": "user", "content": "Name a river."}]
GREEDY: dict[str, Any] = {"model": "tgi", "temperature": 0}


@pytest.fixture(scope="module")
def client(smollm: RunningServer) -> Iterator[OpenAI]:
    """Tries everything once."""
    url = f"{smollm.url}/v1"
    with OpenAI(base_url=url, api_key="-", timeout=60.0, max_retries=0) as client:
        yield client


REFUSED: list[tuple[str, dict[str, Any]]] = [
    ("temperature", {"temperature": 3}),
    ("max_completion_tokens", {"max_completion_tokens": 0}),
    ("functions", {"functions": [{"name": "f"}]}),
    ("logit_bias", {"logit_bias": {"1000000": 1}}),
    ("top_logprobs", {"top_logprobs": 2}),
]


@pytest.mark.parametrize(("param", "fields"), REFUSED, ids=[param for param, _ in REFUSED])
def test_a_broken_rule_is_a_bad_request_that_names_the_field(
    client: OpenAI, param: str, fields: dict[str, Any]
) -> None:
    for stream in (False, True):
        with pytest.raises(openai.BadRequestError) as refused:
            client.chat.completions.create(messages=MESSAGES, model="tgi", stream=stream, **fields)
        assert refused.value.param == param
        assert refused.value.type == "invalid_request_error"
        assert param in refused.value.message


def test_embeddings_are_not_found(client: OpenAI) -> None:
    with pytest.raises(openai.NotFoundError, match="embeddings are not served"):
        client.embeddings.create(input="x", model="tgi")


def test_a_response_tells_the_log_probabilities_that_a_chat_tells(client: OpenAI) -> None:
    chat = client.chat.completions.create(
        messages=MESSAGES, max_tokens=8, logprobs=True, top_logprobs=2, **GREEDY
    )
    response = client.responses.create(
        input=MESSAGES,
        max_output_tokens=8,
        include=["message.output_text.logprobs"],
        top_logprobs=2,
        **GREEDY,
    )
    told = chat.choices[0].logprobs
    [message] = response.output
    assert told is not None and told.content and message.type == "message"
    [part] = message.content
    assert part.type == "output_text" and part.logprobs is not None
    expected = [(entry.token, entry.logprob) for entry in told.content]
    assert [(entry.token, entry.logprob) for entry in part.logprobs] == expected
    assert all(len(entry.top_logprobs) == 2 for entry in part.logprobs)
    assert "".join(entry.token for entry in part.logprobs) == part.text


def test_the_best_of_two_answers_is_the_likelier_one(client: OpenAI) -> None:
    asked: dict[str, Any] = {"model": "tgi", "prompt": prose(901, 20), "max_tokens": 8, "seed": 7}
    both = client.completions.create(n=2, logprobs=0, **asked)
    best = client.completions.create(best_of=2, **asked)

    def likelihood(choice: Any) -> float:
        return float(sum(choice.logprobs.token_logprobs) / len(choice.logprobs.token_logprobs))

    assert [choice.text for choice in best.choices] == [max(both.choices, key=likelihood).text]
    assert best.usage is not None and both.usage is not None
    assert best.usage.completion_tokens == both.usage.completion_tokens, "both are drawn"


def test_a_last_message_is_continued_or_answered(client: OpenAI) -> None:
    begun: Any = [*MESSAGES, {"role": "assistant", "content": "The river"}]

    def prompt_tokens(**fields: Any) -> int:
        answer = client.chat.completions.create(
            messages=begun, max_tokens=1, extra_body=fields, **GREEDY
        )
        assert answer.usage is not None
        return answer.usage.prompt_tokens

    continued = prompt_tokens(continue_final_message=True, add_generation_prompt=False)
    assert continued == prompt_tokens()
    closed = prompt_tokens(add_generation_prompt=False)
    answered = prompt_tokens(continue_final_message=False)
    assert continued < closed < answered
    assert answered == prompt_tokens(
        chat_template_kwargs={"unused": True}, add_generation_prompt=True
    )
