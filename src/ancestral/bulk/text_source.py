"""Texts in a JSONL file: one JSON string, or object with the field text, in each line."""

import io
import json
from dataclasses import dataclass, field
from typing import Any

from ancestral.bulk.rows import Rows
from ancestral.bulk.store import file_system, without_credentials
from ancestral.errors import InvalidInput
from ancestral.excerpts import quoted

_EVERY = 1024
"""The place of each such line is remembered."""
_LONGEST = 2**28
"""Most bytes of a line."""
_SHOWN = 80
"""Bytes of a line that a message shows."""


@dataclass(slots=True)
class TextSource:
    """A JSONL file; lines are found by scanning, once.

    Attributes:
        path: the file for messages.
        file: the open file.
    """

    path: str
    file: Any
    _places: list[int] = field(default_factory=lambda: [0], init=False)
    _count: int | None = field(default=None, init=False)

    @classmethod
    def open(cls, path: str) -> "TextSource":
        """Open a file.

        Raises:
            InvalidInput: the file does not exist or cannot be read.
        """
        place = without_credentials(path)
        filesystem, inner = file_system(path)
        try:
            file = io.BufferedReader(filesystem.open_input_file(inner), 2**20)
        except FileNotFoundError as error:
            raise InvalidInput(f"{place}: no such file") from error
        except OSError as error:
            raise InvalidInput(
                f"{place}: cannot be read ({type(error).__name__}); check its permissions"
            ) from error
        return cls(place, file)

    @property
    def count(self) -> int:
        """Number of lines.

        Raises:
            InvalidInput: a line is too long.
        """
        if self._count is None:
            self._scan(None)
        assert self._count is not None
        return self._count

    def read(self, first: int, end: int) -> Rows:
        """Return the texts of the lines first .. end - 1.

        Raises:
            InvalidInput: a line is not JSON, or has no text.
        """
        self._scan(first)
        self.file.seek(self._places[first // _EVERY])
        for _ in range(first % _EVERY):
            self._line(first)
        return Rows([self._text(self._line(row), row) for row in range(first, end)], None)

    def _scan(self, row: int | None) -> None:
        """Find the places of lines up to a row, or of all lines."""
        if self._count is not None or (row is not None and row // _EVERY < len(self._places)):
            return
        at = self._places[-1]
        number = (len(self._places) - 1) * _EVERY
        self.file.seek(at)
        while line := self._line(number):
            number, at = number + 1, at + len(line)
            if number % _EVERY == 0:
                self._places.append(at)
                if row is not None and row // _EVERY < len(self._places):
                    return
        self._count = number

    def _line(self, row: int) -> bytes:
        line: bytes = self.file.readline(_LONGEST + 1)
        if len(line) > _LONGEST:
            raise InvalidInput(
                f"{self.path}: row {row}: expected at most {_LONGEST} bytes in a line, got more"
            )
        return line

    def _text(self, line: bytes, row: int) -> str:
        """Return the text of a line.

        Raises:
            InvalidInput: the line is not JSON, or has no text.
        """
        try:
            value = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise InvalidInput(
                f"{self.path}: row {row}: expected JSON, got {_shown(line)}"
            ) from error
        text = value.get("text") if isinstance(value, dict) else value
        if not isinstance(text, str):
            raise InvalidInput(
                f'{self.path}: row {row}: expected a string or an object with the field "text", '
                f"got {_shown(line)}"
            )
        return text


def _shown(line: bytes) -> str:
    """Return the beginning of a line for a message."""
    return quoted(line[:_SHOWN].decode(errors="replace").rstrip("\n"))
