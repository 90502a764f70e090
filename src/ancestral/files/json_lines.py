"""JSONL files of users: one JSON value per line, read within bounds, with line numbers."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ancestral.errors import InvalidInput
from ancestral.excerpts import quoted
from ancestral.files.input_file import open_regular, unreadable
from ancestral.strict_json import Bounds, parse

_LINE = 2**26
"""Most bytes of a line."""
_SHOWN = 80
"""Bytes of a line that a message shows."""
_BOUNDS = Bounds(_LINE, values=2**23, keys=2**10, depth=8, portable=False)
"""NaN is not JSON, but Python's writer uses it; the reader of a field decides about it."""


def json_lines(path: Path) -> Iterator[tuple[int, Any]]:
    """Yield the number of each line, from 1, and its value; empty lines are skipped.

    Raises:
        InvalidInput: the file does not exist or is not a regular file, or a line is not JSON or is
            too long.
    """
    try:
        with open_regular(path) as file:
            number = 0
            while line := file.readline(_LINE + 1):
                number += 1
                if len(line) > _LINE:
                    raise InvalidInput(
                        f"{path}: line {number}: expected at most {_LINE:,} bytes, got more; put "
                        f"each sequence on its own line"
                    )
                if line.strip():
                    yield number, _value(path, number, line)
    except OSError as error:
        raise InvalidInput(unreadable(path, error)) from error


def _value(path: Path, number: int, line: bytes) -> Any:
    try:
        return parse(line, _BOUNDS)
    except ValueError as error:
        shown = quoted(line[:_SHOWN].decode(errors="replace").rstrip("\n"))
        reason = str(error) if str(error).startswith("expected") else "not JSON"
        raise InvalidInput(
            f"{path}: line {number}: {reason}, got {shown}; write one JSON value per line"
        ) from error
