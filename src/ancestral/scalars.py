"""Check single numbers that users pass: Python's, numpy's, and arrays without axes."""

import os
from typing import Any

from numpy.typing import NDArray

from ancestral.arrays import array_of, shown
from ancestral.errors import InvalidInput

A_CORE = 4
"""Most threads per core of the machine: more of them only wait for each other."""


def whole(name: str, value: object, least: int, most: int = 2**32 - 1) -> int:
    """Return a whole number in least .. most as a Python int.

    Raises:
        InvalidInput: `value` is not an integer (a bool is not one), or is outside the range.
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
    """Return a real number as a Python float; it may be NaN or infinite.

    Raises:
        InvalidInput: `value` is not a number (a bool is not one), or is beyond float64.
    """
    found = value if isinstance(value, int | float) else _scalar(value, "fiu")
    if found is None or isinstance(found, bool):
        raise InvalidInput(f"{name}: expected a number, got {shown(value)}")
    try:
        return float(found)
    except OverflowError as error:
        raise InvalidInput(f"{name}: expected a number, got {shown(value)}") from error


def check_threads(value: object, name: str = "threads") -> int:
    """Return a number of threads, from 1 to `A_CORE` times the number of cores of this machine.

    Args:
        value: number of threads.
        name: name of the argument or option, for errors.

    Raises:
        InvalidInput: `value` is not an integer in this range.
    """
    cores = os.cpu_count() or 1
    try:
        return whole(name, value, 1, A_CORE * cores)
    except InvalidInput as error:
        raise InvalidInput(
            f"{error} (this machine has {cores} cores, and more than {A_CORE} threads per core do "
            f"not help); leave it out to let the runtime choose"
        ) from error


def _end(most: int) -> str:
    bits = most.bit_length()
    return f"2^{bits} - 1" if bits > 32 and most == 2**bits - 1 else str(most)


def _scalar(value: object, kinds: str) -> NDArray[Any] | None:
    """Return a value as an array without axes of one of these dtype kinds, or None if it is not."""
    try:
        array = array_of("value", value)
    except InvalidInput:
        return None
    return array if array.ndim == 0 and array.dtype.kind in kinds else None
