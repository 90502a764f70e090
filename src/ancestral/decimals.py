"""Whole numbers in text: what users write where an option takes several, or a word."""

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
