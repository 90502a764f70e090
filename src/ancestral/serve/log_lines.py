"""Lines of JSON on standard error: one for each request, and one for each event of the server."""

import contextlib
import json
import logging
import sys
import traceback
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

Write = Callable[[Mapping[str, Any]], None]


def write(fields: Mapping[str, Any]) -> None:
    """Write a line with the time and some fields; nothing happens if its reader has gone."""
    line = {"time": datetime.now(UTC).isoformat(timespec="milliseconds"), **fields}
    with contextlib.suppress(OSError, ValueError):
        sys.stderr.write(json.dumps(line, separators=(",", ":")) + "\n")
        sys.stderr.flush()


def trace(error: BaseException) -> str:
    """Return the traceback of an error."""
    return "".join(traceback.format_exception(error))


class LineHandler(logging.Handler):
    """Writes what libraries log in the same form."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record."""
        fields = {
            "event": record.name,
            "level": record.levelname.lower(),
            "message": record.getMessage(),
        }
        if record.exc_info is not None and record.exc_info[1] is not None:
            fields["error"] = trace(record.exc_info[1])
        write(fields)
