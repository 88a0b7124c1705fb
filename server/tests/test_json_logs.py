"""Log lines of a shard as log collectors read them."""

import json
import logging
import sys
from typing import Any

from text_generation_server.logs import JsonFormatter


def line(message: str, *arguments: object, **fields: Any) -> dict[str, Any]:
    record = logging.LogRecord("some.module", logging.WARNING, "", 0, message, arguments, None)
    for name, value in fields.items():
        setattr(record, name, value)
    text = JsonFormatter(3).format(record)
    assert "\n" not in text
    parsed: dict[str, Any] = json.loads(text)
    return parsed


def test_a_line_has_the_routers_field_names() -> None:
    fields = line("%d of\n%s", 7, "héllo")
    assert fields.pop("timestamp").endswith("+00:00")
    assert fields == {
        "level": "WARN",
        "message": "7 of\nhéllo",
        "target": "some.module",
        "rank": 3,
    }


def test_a_line_names_the_request_it_is_about() -> None:
    assert line("x", request_id="abc")["request_id"] == "abc"


def test_an_exception_stays_on_its_line() -> None:
    try:
        raise ValueError("no")
    except ValueError:
        fields = line("x", exc_info=sys.exc_info())
    assert fields["exception"].endswith("ValueError: no")
