"""Log lines on standard error: for people, or one JSON object each, named as the router's.

`request_id` is there where the caller gave it as `extra`.
"""

import json
import logging
import sys
from datetime import UTC, datetime

PEOPLE = "%(asctime)s %(levelname)s %(name)s: %(message)s"


def configure_logging(level: str, json_of_rank: int | None) -> None:
    """Log from `level` on, as JSON that names this rank, or for people."""
    handler = logging.StreamHandler(sys.stderr)
    if json_of_rank is None:
        handler.setFormatter(PeopleFormatter(PEOPLE))
    else:
        handler.setFormatter(JsonFormatter(json_of_rank))
    logging.basicConfig(level=level, handlers=[handler])


def _request_id(record: logging.LogRecord) -> str:
    return getattr(record, "request_id", "")


class PeopleFormatter(logging.Formatter):
    """A line a record, the request at its end; an exception follows on lines of its own."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        """The line without the exception."""
        line, request_id = super().formatMessage(record), _request_id(record)
        return f'{line} request_id="{request_id}"' if request_id else line


class JsonFormatter(logging.Formatter):
    """One line a record."""

    def __init__(self, rank: int) -> None:
        super().__init__()
        self._rank = rank

    def format(self, record: logging.LogRecord) -> str:
        """The record as JSON."""
        fields = {
            "timestamp": datetime.fromtimestamp(record.created, UTC).isoformat(),
            "level": record.levelname.replace("WARNING", "WARN"),
            "message": record.getMessage(),
            "target": record.name,
            "rank": self._rank,
        }
        if request_id := _request_id(record):
            fields["request_id"] = request_id
        if record.exc_info:
            fields["exception"] = self.formatException(record.exc_info)
        # As compact as the router's, so that one search finds a request's lines of both.
        return json.dumps(fields, ensure_ascii=False, separators=(",", ":"))
