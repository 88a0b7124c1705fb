"""What schemathesis has to know about this server; loaded into it by `test_openapi.py`.

Runs in the environment `.venv-conformance-clients`, which has schemathesis.
"""

import json
import zlib
from collections import deque

import schemathesis

LEAST_FLOAT = 2.0**-20
METHODS = ("get", "post", "delete")
# The last responses that the server stored: ids made up are never found.
stored_ids = deque(maxlen=16)


@schemathesis.hook
def before_load_schema(context, raw_schema):
    """The description says what the `data` of an event is; schemathesis reads it as the event."""
    for path in raw_schema["paths"].values():
        for method in METHODS:
            for response in path.get(method, {}).get("responses", {}).values():
                stream = response.get("content", {}).get("text/event-stream")
                if stream is not None:
                    stream["schema"] = event_schema(stream["schema"])


def event_schema(schema):
    """An event whose data is JSON of the schema, or the word that ends a stream at OpenAI."""
    data = {
        "type": "string",
        "if": {"const": "[DONE]"},
        "else": {"contentMediaType": "application/json", "contentSchema": schema},
    }
    return {"type": "object", "required": ["data"], "properties": {"data": data}}


@schemathesis.hook
def before_call(context, case, kwargs):
    """Two of three requests are made likelier, to get further than to their first fault."""
    if chance(case, 3) == 0:
        return
    if isinstance(case.body, dict):
        make_likelier(case.body)
        parameters = case.body.get("parameters")
        if isinstance(parameters, dict):
            make_likelier(parameters)
    if case.path.startswith("/v1/responses/"):
        case.path_parameters["id"] = recent_id()
        if case.method == "DELETE" and len(stored_ids) > 1:
            stored_ids.pop()
    if case.path.startswith("/v1/models/"):
        case.path_parameters["id"] = "tgi"


def make_likelier(fields):
    """Names what there is; keeps to floats of 32 bits and to rules about two fields."""
    for field, name in (
        ("model", "tgi"),
        ("previous_response_id", recent_id()),
        ("adapter_id", None),
    ):
        if isinstance(fields.get(field), str):
            fields[field] = name
    for field, value in fields.items():
        if isinstance(value, float) and 0 < value < LEAST_FLOAT:
            fields[field] = LEAST_FLOAT
    if fields.get("max_tokens") == 0 and not fields.get("echo"):
        fields["max_tokens"] = 1
    if isinstance(fields.get("prompt"), list):
        fields["prompt"] = few(fields["prompt"])


def few(prompts):
    """At most two prompts or tokens, which the vocabulary has."""
    return [one % 1000 if isinstance(one, int) else one for one in prompts[:2]]


@schemathesis.hook
def after_call(context, case, response):
    """Remembers the responses that were stored."""
    is_new = case.path == "/v1/responses" and case.method == "POST"
    is_json = response.headers.get("content-type", [""])[0].startswith("application/json")
    if is_new and is_json and response.status_code == 200:
        stored_ids.append(response.json()["id"])


def recent_id():
    return stored_ids[-1] if stored_ids else "resp_none"


def chance(case, sides):
    """A die whose number is the request's own, so that a seed repeats a run."""
    body = json.dumps(case.body, default=str, sort_keys=True)
    return zlib.crc32(body.encode(errors="replace")) % sides
