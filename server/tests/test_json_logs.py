"""Log lines of a shard, as log collectors and people read them."""

import json
import logging
import sys
from typing import Any

from text_generation_server.logs import PEOPLE, JsonFormatter, PeopleFormatter


def record_of(message: str, *arguments: object, **fields: Any) -> logging.LogRecord:
    record = logging.LogRecord("some.module", logging.WARNING, "", 0, message, arguments, None)
    for name, value in fields.items():
        setattr(record, name, value)
    return record


def line(message: str, *arguments: object, **fields: Any) -> dict[str, Any]:
    text = JsonFormatter(3).format(record_of(message, *arguments, **fields))
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
    assert "request_id" not in line("x", request_id="")


def test_people_find_the_request_at_the_end_of_the_line() -> None:
    formatter = PeopleFormatter(PEOPLE)
    named = formatter.format(record_of("x", request_id="abc"))
    assert named.endswith('WARNING some.module: x request_id="abc"')
    assert formatter.format(record_of("x")).endswith("some.module: x")
    try:
        raise ValueError("no")
    except ValueError:
        failed = formatter.format(record_of("x", request_id="abc", exc_info=sys.exc_info()))
    first, *_, last = failed.splitlines()
    assert (first.endswith('x request_id="abc"'), last) == (True, "ValueError: no")


def test_an_exception_stays_on_its_line() -> None:
    try:
        raise ValueError("no")
    except ValueError:
        fields = line("x", exc_info=sys.exc_info())
    assert fields["exception"].endswith("ValueError: no")
