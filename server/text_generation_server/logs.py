"""Log lines on standard error: for people, or one JSON object each, named as the router's."""

import json
import logging
import sys
from datetime import UTC, datetime

PEOPLE = "%(asctime)s %(levelname)s %(name)s: %(message)s"


def configure_logging(level: str, json_of_rank: int | None) -> None:
    """Log from `level` on, as JSON that names this rank, or for people."""
    handler = logging.StreamHandler(sys.stderr)
    if json_of_rank is None:
        handler.setFormatter(logging.Formatter(PEOPLE))
    else:
        handler.setFormatter(JsonFormatter(json_of_rank))
    logging.basicConfig(level=level, handlers=[handler])


class JsonFormatter(logging.Formatter):
    """One line a record. `request_id` is there where the caller gave it as `extra`."""

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
        request_id = getattr(record, "request_id", None)
        if request_id:
            fields["request_id"] = request_id
        if record.exc_info:
            fields["exception"] = self.formatException(record.exc_info)
        return json.dumps(fields, ensure_ascii=False)
