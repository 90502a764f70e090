"""What was finished before Ctrl-C."""

from collections.abc import Iterator
from typing import TypeVar

T = TypeVar("T")


def finished(batches: Iterator[T]) -> tuple[list[T], bool]:
    """The batches that were finished, and whether Ctrl-C came before the last."""
    parts: list[T] = []
    try:
        for part in batches:
            parts.append(part)
    except KeyboardInterrupt:
        return parts, True
    return parts, False
