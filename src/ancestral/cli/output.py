"""What commands print: results on standard output, what is said beside them on standard error."""

import json
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from ancestral.errors import InvalidInput

if TYPE_CHECKING:
    from rich.table import Table

_WIDTH = 160
"""Columns of a table where standard output is no terminal."""


def say(line: str) -> None:
    """A line for people, on standard error."""
    typer.echo(line, err=True)


def json_text(document: object) -> str:
    """JSON of plain values; infinities and NaN, which JSON has not, become null."""
    return json.dumps(_finite(document), indent=2, allow_nan=False)


def table(title: str, heads: Sequence[str], rows: Iterable[Sequence[str]]) -> "Table":
    """A table whose first column is words and whose others are numbers."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    result = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for i, head in enumerate(heads):
        result.add_column(head, justify="left" if i == 0 else "right")
    for row in rows:
        # As Text: what stands in square brackets is no markup.
        result.add_row(*(Text(cell) for cell in row))
    return result


def show(*tables: "Table") -> None:
    """Print tables on standard output."""
    from rich.console import Console

    console = Console()
    if not console.is_terminal:
        console = Console(width=_WIDTH)
    for each in tables:
        console.print(each)


def check_target(out: Path, suffixes: Sequence[str], option: str = "--out") -> None:
    """Refuse a file that could not be written, before the work that it is for.

    Raises:
        InvalidInput: another suffix, a folder of that name, or no right to write there.
    """
    if out.suffix.lower() not in suffixes:
        raise InvalidInput(
            f"{option}: expected a name that ends in {' or '.join(suffixes)}, got {out}"
        )
    if out.is_dir():
        raise InvalidInput(f"{option}: expected the name of a file, got a folder: {out}")
    folder = next(folder for folder in out.absolute().parents if folder.exists())
    if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
        raise InvalidInput(f"{option}: expected a folder that can be written to, got {folder}")


def _finite(value: Any) -> Any:
    match value:
        case float():
            return value if math.isfinite(value) else None
        case Mapping():
            return {key: _finite(item) for key, item in value.items()}
        case list() | tuple():
            return [_finite(item) for item in value]
        case _:
            return value
