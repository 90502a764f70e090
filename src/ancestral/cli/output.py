"""What commands print: results on standard output, and messages on standard error.

Names, errors and generated text may come from files of a stranger. What a terminal would take for a
command (an escape sequence, a change of direction) is shown as the code of its character.
"""

import json
import math
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from ancestral.errors import InvalidInput

if TYPE_CHECKING:
    from rich.table import Table

    from ancestral.engine import Engine

_CONTROLS = (
    *(*range(0x09), *range(0x0B, 0x20), *range(0x7F, 0xA0)),  # C0 but tab and newline, delete, C1
    *(0x61C, 0x200E, 0x200F, *range(0x2028, 0x202F), *range(0x2066, 0x206A)),  # directions, lines
)
_CODES = {i: f"\\x{i:02x}" if i < 0x100 else f"\\u{i:04x}" for i in _CONTROLS}
_WIDTH = 160
"""Columns of a table where standard output is no terminal."""


def visible(text: str) -> str:
    r"""The text with each control character but tab and newline as its code.

    >>> visible("\x1b[31mred\u202e"), visible("two\n\tlines")
    ('\\x1b[31mred\\u202e', 'two\n\tlines')
    """
    return printable(text).translate(_CODES)


def printable(text: str) -> str:
    r"""A text without lone surrogates, which are no characters: they become escapes.

    >>> printable("a" + chr(0xDCFF))
    'a\\\\udcff'
    """
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def say(line: str) -> None:
    """A line for people, on standard error."""
    typer.echo(visible(line), err=True)


def put(line: object) -> None:
    """A line of a result, on standard output."""
    typer.echo(visible(str(line)))


def put_text(text: str | bytes) -> None:
    """Generated text on standard output: as it is in a file or a pipe, `visible` on a terminal."""
    data = text if isinstance(text, bytes) else text.encode()
    if sys.stdout.isatty():
        data = visible(data.decode(errors="replace")).encode()
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()


def write_text(out: str | Path, text: bytes) -> None:
    """Write text to a file, or as by `put_text` where the file is -.

    Raises:
        OSError: it could not be written; an old file of that name is whole.
    """
    from ancestral.files.atomic import write_atomically

    if out == "-":
        put_text(text)
    else:
        write_atomically(out, text)


def place(engine: "Engine") -> str:
    """Where an engine runs, for a message: "onnxruntime on cpu"."""
    return f"{engine.backend.name} on {engine.backend.device}"


def arrow(out: str | Path | None) -> str:
    """The end of a message that names the file that was written, if there is one."""
    return "" if out in (None, "-") else f" -> {out}"


def json_text(document: object) -> str:
    """JSON of plain values; infinities and NaN, which JSON has not, become null.

    Bytes of a path that are not UTF-8 become escapes, as on standard error.
    """
    return json.dumps(_plain(document), indent=2, allow_nan=False)


def table(title: str, heads: Sequence[str], rows: Iterable[Sequence[str]]) -> "Table":
    """A table whose first column is words and whose others are numbers."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    # As Text: what stands in square brackets, of a file's name say, is no markup.
    result = Table(
        title=Text(visible(title), style="table.title"),
        title_justify="left",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
    )
    for i, head in enumerate(heads):
        result.add_column(Text(visible(head)), justify="left" if i == 0 else "right")
    for row in rows:
        result.add_row(*(Text(visible(cell)) for cell in row))
    return result


def show(*tables: "Table") -> None:
    """Print tables on standard output."""
    from rich.console import Console

    console = Console()
    if not console.is_terminal:
        console = Console(width=_WIDTH)
    for each in tables:
        console.print(each)


def check_target(
    out: Path | None,
    suffixes: Sequence[str],
    option: str = "--out",
    keep: Iterable[Path | None] = (),
) -> None:
    """Refuse a file that could not or must not be written, before the work that it is for.

    Args:
        out: the file; None where nothing is written.
        suffixes: those that suit.
        option: that names it.
        keep: files that the command reads, and folders of bundles; None stands for none.

    Raises:
        InvalidInput: another suffix, a folder of that name, no right to write there, or a file that
            is read, or that would be in a folder that is read.
    """
    if out is None:
        return
    if out.suffix.lower() not in suffixes:
        raise InvalidInput(
            f"{option}: expected a name that ends in {' or '.join(suffixes)}, got {out}"
        )
    if out.exists() and not out.is_file():
        kind = "a folder" if out.is_dir() else "a pipe or a device"
        raise InvalidInput(f"{option}: expected the name of a file, got {kind}: {out}")
    target = os.path.realpath(out)
    for each in filter(None, keep):
        read = os.path.realpath(each)
        if target == read:
            raise InvalidInput(f"{option}: {out} is the file that is read: give another name")
        if os.path.isdir(read) and Path(target).is_relative_to(read):
            raise InvalidInput(
                f"{option}: {out} is inside {each}, which is read: give another place"
            )
    check_place(out, option)


def check_utf8(path: Path, option: str) -> None:
    """Refuse a folder whose name the libraries that write weights cannot take.

    Raises:
        InvalidInput: it is not UTF-8.
    """
    try:
        str(path.absolute()).encode()
    except UnicodeEncodeError as error:
        raise InvalidInput(
            f"{option}: expected a path in UTF-8, got {str(path)!a}: rename the folder"
        ) from error


def check_place(out: Path, option: str = "--out") -> None:
    """Refuse a path where nothing can be made, before the work that it is for.

    Raises:
        InvalidInput: a file is where a folder would be, or there is no right to write there.
    """
    folder = next(folder for folder in out.absolute().parents if folder.exists())
    if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
        raise InvalidInput(f"{option}: expected a folder that can be written to, got {folder}")


def _plain(value: Any) -> Any:
    match value:
        case str():
            return printable(value)
        case float():
            return value if math.isfinite(value) else None
        case Mapping():
            return {_plain(key): _plain(item) for key, item in value.items()}
        case list() | tuple():
            return [_plain(item) for item in value]
        case _:
            return value
