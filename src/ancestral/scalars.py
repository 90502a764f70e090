"""Single numbers that users pass: Python's, numpy's, and arrays without axes."""

import os
from typing import Any

from numpy.typing import NDArray

from ancestral.arrays import array_of, shown
from ancestral.errors import InvalidInput

A_CORE = 4
"""Threads for each core of the machine at most: more only wait for each other."""


def whole(name: str, value: object, least: int, most: int = 2**32 - 1) -> int:
    """A whole number in least .. most.

    Raises:
        InvalidInput: it is not an integer (a bool is not), or is outside the range.
    """
    found = value if isinstance(value, int) else _scalar(value, "iu")
    if found is None or isinstance(found, bool):
        raise InvalidInput(f"{name}: expected an integer, got {shown(value)}")
    if not least <= int(found) <= most:
        raise InvalidInput(
            f"{name}: expected an integer in {least} .. {_end(most)}, got {shown(int(found))}"
        )
    return int(found)


def real(name: str, value: object) -> float:
    """A real number, as a Python float; it may be NaN or infinite.

    Raises:
        InvalidInput: it is not a number (a bool is not), or is beyond float64.
    """
    found = value if isinstance(value, int | float) else _scalar(value, "fiu")
    if found is None or isinstance(found, bool):
        raise InvalidInput(f"{name}: expected a number, got {shown(value)}")
    try:
        return float(found)
    except OverflowError as error:
        raise InvalidInput(f"{name}: expected a number, got {shown(value)}") from error


def check_threads(value: object, name: str = "threads") -> int:
    """A number of threads, at least 1 and at most `A_CORE` times the cores of this machine.

    Args:
        value: the number.
        name: of the argument or option, for messages.

    Raises:
        InvalidInput: it is not.
    """
    cores = os.cpu_count() or 1
    try:
        return whole(name, value, 1, A_CORE * cores)
    except InvalidInput as error:
        raise InvalidInput(
            f"{error}: this machine has {cores} cores, and at most {A_CORE} threads for each are "
            f"of use; leave it out, and the runtime chooses"
        ) from error


def _end(most: int) -> str:
    bits = most.bit_length()
    return f"2^{bits} - 1" if bits > 32 and most == 2**bits - 1 else str(most)


def _scalar(value: object, kinds: str) -> NDArray[Any] | None:
    """An array without axes of one of these kinds; None of anything else."""
    try:
        array = array_of("value", value)
    except InvalidInput:
        return None
    return array if array.ndim == 0 and array.dtype.kind in kinds else None
