"""Arrays that users pass, of whatever makes them, as numpy arrays in which nothing is missing."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields, replace
from numbers import Real
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from ancestral.errors import InvalidInput
from ancestral.excerpts import LONGEST_VALUE, cut

Integers = NDArray[np.int64]
T = TypeVar("T", bound=Any)

LARGEST = 2**37
"""Bytes of one array at most: more is a mistake, and would be found out only when memory ends."""
_DEEPEST = 64
"""Axes of an array at most, in numpy."""
_UNREADABLE = (
    AttributeError,
    BufferError,
    LookupError,
    OverflowError,
    RuntimeError,
    TypeError,
    ValueError,
)
"""What numpy, and `__array__` of what it reads, raise of values that are no array."""


def shown(value: object) -> str:
    """A value as an error shows it: its repr, cut where it is long.

    >>> shown("seven"), shown(10**5000)
    ("'seven'", 'an integer of 16610 bits')
    """
    if isinstance(value, int) and value.bit_length() > LONGEST_VALUE:
        return f"an integer of {value.bit_length()} bits"
    with readable("value"):
        text = " ".join(repr(value).split())
    return cut(text, LONGEST_VALUE)


@contextmanager
def readable(name: str) -> Iterator[None]:
    """Turn the errors of numpy, and of what it reads from, into InvalidInput.

    Raises:
        InvalidInput: one of them was raised.
    """
    try:
        yield
    except InvalidInput:
        raise
    except MemoryError as error:
        raise InvalidInput(f"{name}: expected an array that fits in memory, got {error}") from error
    except _UNREADABLE as error:
        raise InvalidInput(
            f"{name}: expected an array of numbers, got what numpy cannot read: {error}. A torch "
            f"tensor must be dense, detached and on the CPU; cast bfloat16 to float32 first"
        ) from error


def array_of(name: str, values: object, *, masked: int | None = None) -> NDArray[Any]:
    """Any array-like as a numpy array; what it holds may still be of any type but object.

    Args:
        name: of the argument, for errors.
        values: an array, nested sequences of numbers, or whatever numpy can read.
        masked: value of the masked entries of a numpy masked array; refused where None.

    Raises:
        InvalidInput: it cannot be read, an entry is missing (masked, None, pandas' NA) or is not a
            number, or it is absurdly large.
    """
    with readable(name):
        if isinstance(values, list | tuple) and _holds_masked(values, _DEEPEST):
            raise InvalidInput(
                f"{name}: expected one masked array or none, got one inside a "
                f"{type(values).__name__}"
            )
        array: NDArray[Any] = np.asarray(values)
        if isinstance(values, np.ma.MaskedArray):
            array = _filled(name, array, np.ma.getmaskarray(values), masked)
        if array.size * max(array.itemsize, 8) > LARGEST:
            raise InvalidInput(
                f"{name}: expected an array that fits in memory, got shape {array.shape}"
            )
        return _plain(name, array) if array.dtype.kind == "O" else array


def integers(name: str, values: object, *, masked: int | None = None) -> Integers:
    """Integers as a new int64 array in C order.

    Args:
        name: of the argument, for errors.
        values: as in `array_of`.
        masked: as in `array_of`.

    Raises:
        InvalidInput: an error of `array_of`; another type than integers; a value beyond int64.
    """
    array = array_of(name, values, masked=masked)
    if array.dtype.kind not in "iu":
        if array.shape == (0,):
            # An empty list has no type.
            return np.zeros(0, np.int64)
        if array.dtype.kind == "f":
            check_finite(name, array)
            advice = ": cast them, .astype(int)" if (array == np.round(array)).all() else ""
            raise InvalidInput(f"{name}: expected integers, got {array.dtype}{advice}")
        raise InvalidInput(f"{name}: expected integers, got {array.dtype}")
    with readable(name):
        if array.dtype.kind == "u" and array.size and int(array.max()) > np.iinfo(np.int64).max:
            raise InvalidInput(f"{name}: expected values below 2^63, got {array.max()}")
        return array.astype(np.int64, order="C")


def reals(name: str, values: object) -> NDArray[np.float64]:
    """Real numbers as a new float64 array in C order; they may be NaN or infinite.

    Raises:
        InvalidInput: an error of `array_of`; another type than numbers.
    """
    array = array_of(name, values)
    if array.dtype.kind not in "fiu":
        raise InvalidInput(f"{name}: expected numbers, got {array.dtype}")
    with readable(name), np.errstate(over="ignore"):
        return array.astype(np.float64, order="C")


def float32(name: str, array: NDArray[Any]) -> NDArray[np.float32]:
    """Finite numbers as a new float32 array in C order.

    Raises:
        InvalidInput: a number is not finite, or is too large for float32.
    """
    with readable(name):
        check_finite(name, array)
        with np.errstate(over="ignore"):
            single = array.astype(np.float32, order="C")
        wrong = first(~np.isfinite(single))
    if wrong is not None:
        raise InvalidInput(
            f"{name}: expected numbers within float32, got {array[wrong]}{place(wrong)}"
        )
    return single


def check_finite(name: str, array: NDArray[Any]) -> None:
    """Refuse NaN and infinity.

    Raises:
        InvalidInput: there is one.
    """
    with readable(name):
        wrong = first(~np.isfinite(array))
    if wrong is not None:
        raise InvalidInput(f"{name}: expected finite numbers, got {array[wrong]}{place(wrong)}")


def check_range(name: str, array: Integers, least: int, most: int) -> None:
    """Refuse integers outside a range.

    Raises:
        InvalidInput: there is one.
    """
    wrong = first((array < least) | (array > most))
    if wrong is not None:
        raise InvalidInput(
            f"{name}: expected values in {least} .. {most}, got {array[wrong]}{place(wrong)}"
        )


def first(wrong: NDArray[np.bool_] | np.bool_) -> tuple[int, ...] | None:
    """Index of the first true entry; None where all are false."""
    found = np.argwhere(wrong)
    return tuple(int(i) for i in found[0]) if len(found) else None


def concatenated(parts: Sequence[T]) -> T:
    """Join dataclasses of consecutive rows; what is not an array is taken from the first."""
    names = [field.name for field in fields(parts[0])]
    arrays = [name for name in names if isinstance(getattr(parts[0], name), np.ndarray)]
    rows = {name: np.concatenate([getattr(part, name) for part in parts]) for name in arrays}
    return replace(parts[0], **rows)


def place(index: tuple[int, ...]) -> str:
    """Where an entry is, in words; nothing of an array without axes."""
    return f" at index {index}" if index else ""


def _holds_masked(values: list[Any] | tuple[Any, ...], depth: int) -> bool:
    """Whether a masked array is inside nested sequences, where numpy would drop its mask."""
    return any(
        isinstance(each, np.ma.MaskedArray)
        or (depth > 0 and isinstance(each, list | tuple) and _holds_masked(each, depth - 1))
        for each in values
    )


def _filled(name: str, array: NDArray[Any], mask: NDArray[Any], masked: int | None) -> NDArray[Any]:
    """The array with its masked entries replaced."""
    wrong = first(mask)
    if wrong is None:
        return array
    if masked is None:
        raise InvalidInput(
            f"{name}: expected every entry, got a masked one{place(wrong)}: fill it or leave it out"
        )
    if array.dtype.kind not in "iuO":
        raise InvalidInput(f"{name}: expected integers, got {array.dtype}")
    # What stands behind a mask may be anything, and the type may not hold the value.
    wide = np.int64 if array.dtype.kind == "i" else object
    result = array.astype(wide)
    result[mask] = masked
    return result


def _plain(name: str, array: NDArray[Any]) -> NDArray[Any]:
    """An array of objects that are all numbers as one of numbers."""
    for index, each in np.ndenumerate(array):
        if not isinstance(each, Real) or isinstance(each, bool):
            raise InvalidInput(f"{name}: expected numbers, got {shown(each)}{place(index)}")
    result = np.array(array.tolist()).reshape(array.shape)
    if result.dtype.kind == "O":
        raise InvalidInput(f"{name}: expected numbers of 64 bits, got {shown(array.tolist())}")
    return result
