"""What commands print: results on standard output, messages on standard error.

Names, errors and generated text may come from untrusted files. Characters that a terminal would
interpret (escape sequences, changes of text direction) are shown as their codes.
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
    # C0 except tab and newline, DEL, C1
    *(*range(0x09), *range(0x0B, 0x20), *range(0x7F, 0xA0)),
    # marks of text direction, line and paragraph separators
    *(0x61C, 0x200E, 0x200F, *range(0x2028, 0x202F), *range(0x2066, 0x206A)),
)
_CODES = {i: f"\\x{i:02x}" if i < 0x100 else f"\\u{i:04x}" for i in _CONTROLS}
_WIDTH = 160
"""Width of a table, in columns, when standard output is not a terminal."""


def visible(text: str) -> str:
    r"""Return the text with control characters, except tab and newline, shown as their codes.

    >>> visible("\x1b[31mred\u202e"), visible("two\n\tlines")
    ('\\x1b[31mred\\u202e', 'two\n\tlines')
    """
    return printable(text).translate(_CODES)


def printable(text: str) -> str:
    r"""Return the text with lone surrogates, which are not valid characters, as escapes.

    >>> printable("a" + chr(0xDCFF))
    'a\\\\udcff'
    """
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def say(line: str) -> None:
    """Print a message on standard error."""
    typer.echo(visible(line), err=True)


def put(line: object) -> None:
    """Print a line of the result on standard output."""
    typer.echo(visible(str(line)))


def put_text(text: str | bytes) -> None:
    """Write generated text to standard output: through `visible` if it is a terminal."""
    data = text if isinstance(text, bytes) else text.encode()
    if sys.stdout.isatty():
        data = visible(data.decode(errors="replace")).encode()
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()


def write_text(out: str | Path, text: bytes) -> None:
    """Write text to a file, or with `put_text` if the file is "-".

    Raises:
        OSError: the file could not be written; an old file of that name is intact.
    """
    from ancestral.files.atomic import write_atomically

    if out == "-":
        put_text(text)
    else:
        write_atomically(out, text)


def place(engine: "Engine") -> str:
    """Return where an engine runs, for a message: "onnxruntime on cpu"."""
    return f"{engine.backend.name} on {engine.backend.device}"


def arrow(out: str | Path | None) -> str:
    """Return the end of a message: the file that was written, or nothing for standard output."""
    return "" if out in (None, "-") else f" -> {out}"


def json_text(document: object) -> str:
    """Return plain values as JSON; infinities and NaN, which JSON lacks, become null.

    Bytes of a path that are not UTF-8 become escapes, as on standard error.
    """
    return json.dumps(_plain(document), indent=2, allow_nan=False)


def table(title: str, heads: Sequence[str], rows: Iterable[Sequence[str]]) -> "Table":
    """Return a table whose first column is text and whose other columns are numbers."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    # As Text, because Rich reads square brackets in a string as markup.
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
    """Check, before the work starts, that an output file can be written.

    Args:
        out: the file; None if nothing is written.
        suffixes: the allowed suffixes.
        option: the option that names the file.
        keep: files and bundle folders that the command reads; None entries are skipped.

    Raises:
        InvalidInput: `out` has another suffix, is a folder, is in a folder that is not writable, is
            one of the files in `keep`, or is inside a folder in `keep`.
    """
    if out is None:
        return
    if out.suffix.lower() not in suffixes:
        raise InvalidInput(
            f"{option}: expected a name that ends in {' or '.join(suffixes)}, got {out}"
        )
    if out.exists() and not out.is_file():
        kind = "a folder" if out.is_dir() else "a pipe or a device"
        raise InvalidInput(f"{option}: expected a file name, got {kind}: {out}")
    target = os.path.realpath(out)
    for each in filter(None, keep):
        read = os.path.realpath(each)
        if target == read:
            raise InvalidInput(f"{option}: {out} is an input of the command; give another name")
        if os.path.isdir(read) and Path(target).is_relative_to(read):
            raise InvalidInput(
                f"{option}: {out} is inside {each}, an input of the command; give another folder"
            )
    check_place(out, option)


def check_utf8(path: Path, option: str) -> None:
    """Check that a path is UTF-8; the libraries that write weights cannot use any other.

    Raises:
        InvalidInput: the path is not UTF-8.
    """
    try:
        str(path.absolute()).encode()
    except UnicodeEncodeError as error:
        raise InvalidInput(
            f"{option}: expected a path in UTF-8, got {str(path)!a}; rename the folder"
        ) from error


def check_place(out: Path, option: str = "--out") -> None:
    """Check, before the work starts, that a file or folder can be created at a path.

    Raises:
        InvalidInput: one of its parents is a file, or the folder is not writable.
    """
    folder = next(folder for folder in out.absolute().parents if folder.exists())
    if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
        raise InvalidInput(f"{option}: expected a writable folder, got {folder}")


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
