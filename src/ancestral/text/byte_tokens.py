"""Tokens <0xNN> that stand for single bytes, as SentencePiece writes what a vocabulary lacks."""

import re
from collections.abc import Sequence

_BYTE = re.compile(r"<0x([0-9A-Fa-f]{2})>", re.ASCII)


def byte_of(token: str) -> int | None:
    """The byte that a token stands for; None where it stands for text.

    >>> byte_of("<0xC3>"), byte_of("cat")
    (195, None)
    """
    found = _BYTE.fullmatch(token)
    return None if found is None else int(found[1], 16)


def repaired(tokens: Sequence[str]) -> list[str]:
    """The tokens with each run of bytes replaced by one that is UTF-8.

    Bytes that are not UTF-8 become U+FFFD as in Python's `errors="replace"`: one for each maximal
    part that begins a character and does not end it. The library would replace every byte of a run
    that has a fault anywhere. Runs that are UTF-8 stay as they are, and so does other text, so that
    the decoder does with them what it always does.

    >>> repaired(["a", "<0xC3>", "<0xA9>", "<0xC3>"])
    ['a', '<0xC3>', '<0xA9>', '<0xEF>', '<0xBF>', '<0xBD>']

    References:
        The Unicode Standard, version 16, section 3.9, "U+FFFD Substitution of Maximal Subparts".
    """
    repaired: list[str] = []
    run = bytearray()
    for token in (*tokens, ""):
        byte = byte_of(token)
        if byte is not None:
            run.append(byte)
            continue
        text = run.decode(errors="replace").encode()
        repaired += [*(f"<0x{each:02X}>" for each in text), token]
        run.clear()
    return repaired[:-1]
