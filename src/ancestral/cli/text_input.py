"""Text that a user passes to a command: read from a file, encoded, and what is lost by it said."""

import re
from collections.abc import Sequence
from pathlib import Path

from ancestral.cli.output import say
from ancestral.errors import InvalidInput
from ancestral.files.input_file import read_bounded
from ancestral.text.coverage import Coverage
from ancestral.text.tokenizer import BYTE_ORDER_MARK, Tokenizer

_UTF_16 = (b"\xff\xfe", b"\xfe\xff")
_CONVERT = "convert the file, by iconv -f UTF-16 -t UTF-8 say"
_NAMED = 5
"""Texts that a line on standard error names by their numbers."""


def read_text(path: Path, option: str) -> str:
    """The text of a file of UTF-8; a byte order mark before it is dropped, and said.

    Raises:
        InvalidInput: the file is not a regular one, is larger than LARGEST_FILE, cannot be read,
            or is not UTF-8.
    """
    try:
        content = read_bounded(path)
    except InvalidInput as error:
        raise InvalidInput(f"{option}: {error}") from error
    except OSError as error:
        raise InvalidInput(f"{option}: expected a text file, got {error}") from error
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        got = f"{error}: was it written in another encoding?"
        if content.startswith(_UTF_16):
            got = f"UTF-16 by its first bytes: {_CONVERT}"
        raise InvalidInput(f"{option}: expected UTF-8 in {path}, got {got}") from error
    # Every second byte of Latin text in UTF-16 is 0, which is a character of UTF-8 too.
    if 3 * text.count("\0") > len(text):
        raise InvalidInput(
            f"{option}: expected UTF-8 in {path}, got {text.count(chr(0)):,} characters of "
            f"{len(text):,} that are NUL, as in UTF-16: {_CONVERT}"
        )
    return without_mark(text, f"{option} {path}")


def read_lines(path: Path, option: str) -> list[str]:
    """The lines of such a file, which end as on Unix, on Windows or on old Macs.

    Raises:
        InvalidInput: as by `read_text`.
    """
    lines = re.split(r"\r\n|\n|\r", read_text(path, option))
    return lines if lines[-1] else lines[:-1]


def without_mark(text: str, place: str) -> str:
    """A text without the byte order mark before it; that it is dropped is said."""
    if not text.startswith(BYTE_ORDER_MARK):
        return text
    say(f"{place}: the text begins with a byte order mark (U+FEFF); it is left out")
    return text.removeprefix(BYTE_ORDER_MARK)


def encode_texts(tokenizer: Tokenizer, texts: Sequence[str], name: str) -> list[list[int]]:
    """The ids of texts; how much of them the vocabulary lacks is said.

    Args:
        tokenizer: of the bundle.
        texts: which are numbered from 0 where there are several.
        name: what one of them is called.

    Raises:
        InvalidInput: nothing of a text is in the vocabulary, or it is not Unicode text.
    """
    names = [f"{name} {i}" if len(texts) > 1 else name for i in range(len(texts))]
    found = [_encoded(tokenizer, *each) for each in zip(texts, names, strict=True)]
    lost = {i: coverage for i, (_, coverage) in enumerate(found) if coverage.unknown}
    if lost:
        say(_lost(name, list(lost.values()), list(lost) if len(texts) > 1 else []))
    return [ids for ids, _ in found]


def _encoded(tokenizer: Tokenizer, text: str, place: str) -> tuple[list[int], Coverage]:
    try:
        ids, found = tokenizer.encode_with_coverage(text)
    except InvalidInput as error:
        raise InvalidInput(f"{place}: {error}") from error
    if found.nothing:
        raise InvalidInput(
            f"{place}: expected text that the vocabulary knows, got {found.total} {found.unit} of "
            f"which it has none{_examples(found.examples)}: is it text of another language or "
            f"script than the model's?"
        )
    return ids, found


def _lost(name: str, found: Sequence[Coverage], places: Sequence[int]) -> str:
    """One line that says how much of the texts is unknown."""
    unknown = sum(each.unknown for each in found)
    total = sum(each.total for each in found)
    examples = list(dict.fromkeys(text for each in found for text in each.examples))
    numbers = ", ".join(map(str, places[:_NAMED]))
    more = f" and {len(places) - _NAMED} more" if len(places) > _NAMED else ""
    where = f"{name}s {numbers}{more}" if len(places) > 1 else " ".join([name, *map(str, places)])
    read_as = found[0].read_as
    lost = "are left out" if read_as is None else f"are read as {read_as}"
    return (
        f"{where}: {unknown:,} of {total:,} {found[0].unit} are not in the vocabulary and "
        f"{lost}{_examples(examples[:_NAMED])}"
    )


def _examples(texts: Sequence[str]) -> str:
    return f": {', '.join(map(repr, texts))}" if texts else ""
