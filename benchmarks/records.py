"""Records, which are dataclasses, as lines of JSON."""

import json
from dataclasses import MISSING, asdict, fields, is_dataclass
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

T = TypeVar("T")


def parsed(kind: type[T], values: object) -> T:
    """A record of its JSON: its fields may be records and tuples again.

    Raises:
        ValueError: it has other fields.
    """
    known = {each.name: each for each in fields(kind)}  # type: ignore[arg-type]
    needed = {
        name
        for name, each in known.items()
        if each.default is MISSING and each.default_factory is MISSING
    }
    if not isinstance(values, dict) or not needed <= set(values) <= set(known):
        raise ValueError(f"row: expected the fields {sorted(known)}, got {str(values)[:200]}")
    hints = get_type_hints(kind)
    return kind(**{name: _made(hints[name], value) for name, value in values.items()})


def _made(hint: Any, value: Any) -> Any:
    if is_dataclass(hint) and isinstance(hint, type):
        return parsed(hint, value)
    if get_origin(hint) is tuple:
        return tuple(_made(get_args(hint)[0], each) for each in value)
    return value


def append_record(record: Any, file: Path) -> str:
    """Append a record of any kind, a dataclass, as a line of JSON; the line."""
    line = json.dumps(asdict(record))
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("a") as lines:
        lines.write(line + "\n")
    return line


def read(kind: type[T], file: Path) -> list[T]:
    """All records of a file, in the order in which they were written; none without a file."""
    lines = file.read_text().splitlines() if file.exists() else []
    return [parsed(kind, json.loads(line)) for line in lines if line.strip()]
