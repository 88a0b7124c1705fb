"""Runs the `text-generation` client in its own environment: JSON lines in, JSON lines out.

That client needs a huggingface-hub that this project's other dependencies do not go with, hence an
interpreter of its own. Usage: `python text_generation_driver.py URL`; each line on standard input
is one call (`call` and its arguments), each line on standard output its result and, as `raw`, the
body the client got: its own types drop the fields that TGI does not have.
"""

import json
import sys

import text_generation.client
from text_generation import Client

bodies = []


class RecordingRequests:
    """Stands in for the module `requests` and keeps the bodies of whole answers."""

    def post(self, *arguments, stream=False, **keywords):
        response = real_requests.post(*arguments, stream=stream, **keywords)
        if not stream:
            bodies.append(response.json())
        return response


real_requests = text_generation.client.requests
text_generation.client.requests = RecordingRequests()


def chat(client, messages, max_tokens):
    answer = client.chat(messages, max_tokens=max_tokens, temperature=0.0)
    return {"text": answer.choices[0].message.content, "raw": bodies[-1]}


def generate(client, prompt, max_new_tokens):
    answer = client.generate(prompt, max_new_tokens=max_new_tokens)
    ids = [token.id for token in answer.details.tokens]
    return {"text": answer.generated_text, "ids": ids, "raw": bodies[-1]}


def generate_stream(client, prompt, max_new_tokens):
    events = list(client.generate_stream(prompt, max_new_tokens=max_new_tokens))
    return {"text": events[-1].generated_text, "ids": [event.token.id for event in events]}


CALLS = {"chat": chat, "generate": generate, "generate_stream": generate_stream}


def main():
    client = Client(sys.argv[1], timeout=60)
    for line in sys.stdin:
        arguments = json.loads(line)
        call = CALLS[arguments.pop("call")]
        print(json.dumps(call(client, **arguments)), flush=True)


main()
