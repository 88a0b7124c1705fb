"""Follow-up turns are served from the cache, to the token, whichever client drives them.

The rule. KV exists for every token that a step has computed: all of a prompt, and all of an answer
but its last token, which was drawn and never fed back. So an earlier request leaves behind
H = prompt + answer[:-1], and a later prompt P finds cached

    min(longest common prefix of P and any such H, len(P) - 1)

tokens: its own last token is always computed, as its logits are what the answer starts from.
"""

import zlib

import pytest
from chat_clients import CLIENTS, Messages, connect
from running_server import RunningServer
from texts import common_prefix, prose

NUM_TURNS = 8
ANSWER_TOKENS = 12


def cached_by_rule(prompt: list[int], histories: list[list[int]]) -> int:
    """What the module's rule says about a prompt."""
    shared = max(common_prefix(prompt, history) for history in histories)
    return min(shared, len(prompt) - 1)


@pytest.mark.parametrize("client_name", CLIENTS)
@pytest.mark.parametrize("server_name", ["oracle", "smollm"])
def test_every_turn_finds_the_whole_history(
    client_name: str, server_name: str, request: pytest.FixtureRequest
) -> None:
    server: RunningServer = request.getfixturevalue(server_name)
    seed = zlib.crc32(client_name.encode())
    messages: Messages = []
    histories: list[list[int]] = []
    with connect(client_name, server.url) as client:
        for turn in range(NUM_TURNS):
            messages.append({"role": "user", "content": prose(seed + turn, 20 + 10 * turn)})
            prompt = server.chat_prompt(messages)
            text, usage = client.chat(messages, ANSWER_TOKENS)
            replay = server.generate(prompt.text, ANSWER_TOKENS)
            assert replay.text == text, "the answer by the chat route and its replay"
            assert replay.prompt_tokens == usage["prompt_tokens"] == len(prompt.ids)
            assert replay.cached_tokens == len(prompt.ids) - 1, "all of a known prompt but one"
            assert len(replay.ids) == usage["completion_tokens"]
            cached = usage["prompt_tokens_details"]["cached_tokens"]
            if turn > 0:
                assert cached == cached_by_rule(prompt.ids, histories)
                if server_name == "oracle":
                    # Its words survive the way through text, so nothing of the turn before is lost.
                    assert cached == len(histories[-1])
            histories.append(prompt.ids + replay.ids[:-1])
            messages.append({"role": "assistant", "content": text})


def test_a_turn_on_a_long_history_computes_only_what_is_new(smollm: RunningServer) -> None:
    history = prose(7000, 2000)
    first = smollm.generate(history, 8, ignore_eos=True)
    assert first.prompt_tokens >= 2000
    turn = history + first.text + " " + prose(7001, 32)
    second = smollm.generate(turn, 8, ignore_eos=True)
    reusable = smollm.tokenize(history) + first.ids[:-1]
    assert second.cached_tokens == cached_by_rule(smollm.tokenize(turn), [reusable])
    assert second.prompt_tokens - second.cached_tokens <= 32 + 8 + 2


def test_a_conversation_of_50000_tokens_stays_cached(oracle: RunningServer) -> None:
    text = prose(50_000, 50_000)
    histories: list[list[int]] = []
    for turn in range(3):
        prompt = oracle.tokenize(text)
        answer = oracle.generate(text, 16)
        if turn > 0:
            assert answer.cached_tokens == cached_by_rule(prompt, histories)
            assert answer.prompt_tokens - answer.cached_tokens < 64
        histories.append(prompt + answer.ids[:-1])
        text += answer.text + " " + prose(50_001 + turn, 32)


def test_two_branches_of_a_conversation_share_their_trunk(oracle: RunningServer) -> None:
    trunk = prose(301, 400)
    first = oracle.generate(f"{trunk} {prose(302, 50)}", 16)
    branch = f"{trunk} {prose(303, 50)}"
    second = oracle.generate(branch, 16)
    assert second.cached_tokens >= len(oracle.tokenize(trunk))
    assert second.ids == oracle.generate(branch, 16).ids != first.ids
