"""Parse JSON from a stranger within bounds, and refuse content on which JSON readers disagree.

Python's parser accepts NaN, Infinity and lone surrogates, and takes the last of duplicate keys;
other readers take the first, or refuse the document. Exported manifests contain none of these.
"""

import json
import re
from dataclasses import dataclass
from typing import Any, NoReturn

from ancestral.arrays import shown

_OPENING = (b",", b"[", b"{")
"""Characters that can precede a value; every value of a document except the first has one."""
_HALF = re.compile(r"\\u[dD][89a-fA-F]")
"""A surrogate as JSON writes it; usually two of them form one character."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """Bounds on a JSON document.

    Attributes:
        size: most bytes of the document.
        values: most values in the whole document.
        keys: most keys of all its objects together.
        depth: deepest nesting of objects and lists.
        portable: whether to refuse NaN, infinity and lone surrogates. Python's json writes all of
            them, surrogates for bytes of a file name that are not UTF-8.
    """

    size: int
    values: int
    keys: int
    depth: int
    portable: bool = True

    @classmethod
    def of_size(cls, size: int, depth: int = 32) -> "Bounds":
        """Return bounds on size and depth only, for documents that Python's json wrote."""
        return cls(size, values=size, keys=size, depth=depth, portable=False)


def parse(content: bytes, bounds: Bounds) -> Any:
    """Return the plain values of a JSON document in UTF-8.

    Raises:
        ValueError: `content` is not JSON, breaks a bound, has a key twice or a number that is too
            long; with `portable`, also if it has a number that is not finite or a lone surrogate.
    """
    if len(content) > bounds.size:
        raise ValueError(f"expected at most {bounds.size:,} bytes, got {len(content):,}")
    # Commas, brackets and colons in strings are counted too; the bounds are wide enough for that.
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
        raise ValueError(f"expected UTF-8, got an invalid byte at {error.start}") from error
    _check_depth(found, bounds)
    if bounds.portable and _HALF.search(text):
        try:
            json.dumps(found, ensure_ascii=False).encode()
        except UnicodeEncodeError as error:
            raise ValueError("expected Unicode characters, got a lone surrogate") from error
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
    """Refuse a document that is nested too deep.

    If it must be portable, also refuse numbers beyond float64 such as 1e999, which `json.loads`
    reads as infinity.
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
    return ValueError(f"expected objects and lists nested at most {bounds.depth} deep")
