"""Whole numbers in text: what users write where an option takes several, or a word."""

from collections.abc import Container

from ancestral.errors import InvalidInput
from ancestral.excerpts import quoted

_DIGITS = 20
"""Digits of 2^64 - 1."""


def decimal(text: str) -> int | None:
    """A whole number from its digits, with blanks around them or none; None of any other text.

    Nothing that is counted here has more than 64 bits, and Python reads no more than some thousand
    digits: what has more than 20 is no number.

    >>> decimal(" 12 "), decimal("-1"), decimal("9" * 5000)
    (12, None, None)
    """
    digits = text.strip()
    return int(digits) if digits.isdecimal() and len(digits) <= _DIGITS else None


def decimals(
    option: str,
    text: str,
    form: str,
    counts: Container[int] | None = None,
    separator: str | None = ",",
) -> list[int]:
    """Several whole numbers.

    >>> decimals("--size", "48x64", "a side like 64, or 48x64", (1, 2), "x")
    [48, 64]

    Args:
        option: that has the text, for errors.
        text: the numbers with the separator between them.
        form: what is expected, for errors.
        counts: how many there may be; None for any number of them.
        separator: None stands for blanks.

    Raises:
        InvalidInput: a part is no whole number, or there are more or fewer than may be.
    """
    parts = text.split(separator)
    numbers = [number for part in parts if (number := decimal(part)) is not None]
    fits = counts is None or len(parts) in counts
    if len(numbers) != len(parts) or not fits:
        raise InvalidInput(f"{option}: expected {form}, got {quoted(text)}")
    return numbers
