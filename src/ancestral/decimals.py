"""Parse whole numbers in the text of options."""

from collections.abc import Container

from ancestral.errors import InvalidInput
from ancestral.excerpts import quoted

_DIGITS = 20
"""Number of digits of 2^64 - 1."""


def decimal(text: str) -> int | None:
    """Parse a whole number of at most 20 digits; return None for any other text.

    Blanks around the digits are ignored. 20 digits hold every number of 64 bits, and `int` raises
    ValueError for texts of some thousand digits.

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
    """Parse several whole numbers.

    >>> decimals("--size", "48x64", "a side like 64, or 48x64", (1, 2), "x")
    [48, 64]

    Args:
        option: name of the option, for errors.
        text: numbers with the separator between them.
        form: description of the expected text, for errors.
        counts: allowed numbers of parts; `None` allows any.
        separator: text between the numbers; `None` means whitespace.

    Raises:
        InvalidInput: a part is not a whole number, or the number of parts is not allowed.
    """
    parts = text.split(separator)
    numbers = [number for part in parts if (number := decimal(part)) is not None]
    fits = counts is None or len(parts) in counts
    if len(numbers) != len(parts) or not fits:
        raise InvalidInput(f"{option}: expected {form}, got {quoted(text)}")
    return numbers
