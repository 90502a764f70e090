"""Text that a user passes to a command: it is read and encoded, and what is lost is reported."""

import re
from collections.abc import Sequence
from pathlib import Path

from ancestral.cli.output import say
from ancestral.errors import InvalidInput
from ancestral.files.input_file import read_bounded, unreadable
from ancestral.text.coverage import Coverage
from ancestral.text.tokenizer import BYTE_ORDER_MARK, Tokenizer

_UTF_16 = (b"\xff\xfe", b"\xfe\xff")
_CONVERT = "convert it, for example with iconv -f UTF-16 -t UTF-8"
_NAMED = 5
"""Number of texts that one message lists by index."""


def read_text(path: Path, option: str) -> str:
    """Return the text of a UTF-8 file; a byte order mark is dropped, and a message says so.

    Raises:
        InvalidInput: the file is not a regular file, is larger than LARGEST_FILE, cannot be read,
            or is not UTF-8.
    """
    try:
        content = read_bounded(path)
    except InvalidInput as error:
        raise InvalidInput(f"{option} {error}") from error
    except OSError as error:
        raise InvalidInput(f"{option} {unreadable(path, error)}") from error
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        got = f"not UTF-8 ({error}); convert it from its encoding, for example with iconv"
        if content.startswith(_UTF_16):
            got = f"not UTF-8 but UTF-16, by its first bytes; {_CONVERT}"
        raise InvalidInput(f"{option} {path}: {got}") from error
    # In UTF-16 every second byte of Latin text is 0, and NUL is valid UTF-8.
    if 3 * text.count("\0") > len(text):
        raise InvalidInput(
            f"{option} {path}: not UTF-8 but probably UTF-16: {text.count(chr(0)):,} of "
            f"{len(text):,} characters are NUL; {_CONVERT}"
        )
    return without_mark(text, f"{option} {path}")


def read_lines(path: Path, option: str) -> list[str]:
    r"""Return the lines of a UTF-8 file; a line ends with \n, \r\n or \r.

    Raises:
        InvalidInput: as in `read_text`.
    """
    lines = re.split(r"\r\n|\n|\r", read_text(path, option))
    return lines if lines[-1] else lines[:-1]


def without_mark(text: str, place: str) -> str:
    """Return the text without a byte order mark at its start; a message says if one is dropped."""
    if not text.startswith(BYTE_ORDER_MARK):
        return text
    say(f"{place}: the text begins with a byte order mark (U+FEFF); it is left out")
    return text.removeprefix(BYTE_ORDER_MARK)


def encode_texts(tokenizer: Tokenizer, texts: Sequence[str], name: str) -> list[list[int]]:
    """Return the ids of texts; a message says how much of them is not in the vocabulary.

    Args:
        tokenizer: the bundle's tokenizer.
        texts: the texts; messages number them from 0 if there are several.
        name: what messages call one of them.

    Raises:
        InvalidInput: no part of a text is in the vocabulary, or it is not valid Unicode.
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
            f"{place}: none of the {found.total} {found.unit} is in the model's vocabulary"
            f"{_examples(found.examples)}; check that the text is in a language and script that "
            f"the model was trained on"
        )
    return ids, found


def _lost(name: str, found: Sequence[Coverage], places: Sequence[int]) -> str:
    """Return one line that says how much of the texts is unknown."""
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
