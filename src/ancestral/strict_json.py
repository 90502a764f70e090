"""JSON from a stranger: bounded in size, values and depth, and without what readers disagree on.

Python's parser takes the last of two equal keys, NaN and Infinity, and halves of characters; other
readers take the first, or refuse. None of these is in a manifest that was exported.
"""

import json
import re
from dataclasses import dataclass
from typing import Any, NoReturn

from ancestral.arrays import shown

_OPENING = (b",", b"[", b"{")
"""Each value of a document but the first has one of these before it."""
_HALF = re.compile(r"\\u[dD][89a-fA-F]")
"""How JSON writes a half of a character; most often two of them are one character."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """What a document may be.

    Attributes:
        size: bytes at most.
        values: at most, all of them together.
        keys: of all its objects together.
        depth: objects and lists inside each other.
        portable: whether NaN, infinity and halves of characters are refused. Python's json writes
            them, halves of characters for bytes of a file name that are not UTF-8.
    """

    size: int
    values: int
    keys: int
    depth: int
    portable: bool = True

    @classmethod
    def of_size(cls, size: int, depth: int = 32) -> "Bounds":
        """Bounds of what Python's json wrote: its size and depth only."""
        return cls(size, values=size, keys=size, depth=depth, portable=False)


def parse(content: bytes, bounds: Bounds) -> Any:
    """The plain values of a JSON document in UTF-8.

    Raises:
        ValueError: it is not JSON, breaks a bound, has a key twice, or a number that is too long;
            where it is to be portable, a number that is not finite, or half of a character.
    """
    if len(content) > bounds.size:
        raise ValueError(f"expected at most {bounds.size:,} bytes, got {len(content):,}")
    # Values in strings are counted too, which is harmless: the bounds are wide.
    if sum(map(content.count, _OPENING)) > bounds.values:
        raise ValueError(f"expected at most {bounds.values:,} values")
    if content.count(b":") > bounds.keys:
        raise ValueError(f"expected at most {bounds.keys:,} keys")
    constant = _refuse if bounds.portable else None
    try:
        text = content.decode("utf-8")
        found = json.loads(text, object_pairs_hook=_without_doubles, parse_constant=constant)
    except RecursionError as error:
        raise _too_deep(bounds) from error
    except UnicodeDecodeError as error:
        raise ValueError(f"expected UTF-8, got other bytes at {error.start}") from error
    _check_depth(found, bounds)
    if bounds.portable and _HALF.search(text):
        try:
            json.dumps(found, ensure_ascii=False).encode()
        except UnicodeEncodeError as error:
            raise ValueError(
                "expected Unicode, got half of a character (a lone surrogate)"
            ) from error
    return found


def _without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        double = next(name for i, name in enumerate(names) if name in names[:i])
        raise ValueError(f"expected each key once in an object, got {shown(double)} twice")
    return found


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"expected finite numbers, got {constant}")


def _check_depth(found: Any, bounds: Bounds) -> None:
    """Refuse a document that is too deep.

    On the way, where it is to be portable, numbers beyond float64 (1e999) are refused.
    """
    level = [found]
    for _ in range(bounds.depth + 1):
        inner: list[Any] = []
        for value in level:
            if isinstance(value, dict):
                inner += value.values()
            elif isinstance(value, list):
                inner += value
            elif bounds.portable and isinstance(value, float) and value - value != 0:
                raise ValueError("expected finite numbers, got one beyond float64")
        if not inner:
            return
        level = inner
    raise _too_deep(bounds)


def _too_deep(bounds: Bounds) -> ValueError:
    return ValueError(f"expected at most {bounds.depth} objects and lists inside each other")
