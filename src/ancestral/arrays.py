"""Convert array-likes that users pass into numpy arrays without missing entries."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields, is_dataclass, replace
from itertools import islice
from numbers import Real
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from ancestral.errors import InvalidInput
from ancestral.excerpts import LONGEST_VALUE, cut

Integers = NDArray[np.int64]
T = TypeVar("T", bound=Any)

LARGEST = 2**37
"""Most bytes of one array: a larger one is a mistake that would show only when memory runs out."""
_ENTRIES = LONGEST_VALUE // 3 + 1
"""Entries of a list that fill the repr in an error: each takes three characters or more."""
_TEXT = 2**10
"""Characters of a text that are looked at for an error."""
_DEEPEST = 64
"""Most axes of a numpy array."""
_UNREADABLE = (
    AttributeError,
    BufferError,
    LookupError,
    OverflowError,
    RuntimeError,
    TypeError,
    ValueError,
)
"""Exceptions that numpy, or `__array__` of a value, raises for values that are not arrays."""


def shown(value: object) -> str:
    """Return the repr of a value as errors show it, cut if it is long.

    >>> shown("seven"), shown(10**5000)
    ("'seven'", 'an integer of 16610 bits')
    """
    if isinstance(value, int) and value.bit_length() > LONGEST_VALUE:
        return f"an integer of {value.bit_length()} bits"
    with readable("value"):
        text = " ".join(repr(_beginning(value)).split())
    return cut(text, LONGEST_VALUE)


def _beginning(value: object) -> object:
    """Return the beginning of a value, long enough that its repr is cut at the same place.

    >>> shown([*range(10**6)]) == cut(repr([*range(100)]), LONGEST_VALUE)
    True
    """
    if type(value) is str:
        return value[:_TEXT]
    if type(value) is list:
        return [_beginning(each) for each in value[:_ENTRIES]]
    if type(value) is dict:
        some = islice(value.items(), _ENTRIES)
        return {_beginning(key): _beginning(each) for key, each in some}
    return value


@contextmanager
def readable(name: str) -> Iterator[None]:
    """Turn errors of numpy, and of the objects that it reads, into InvalidInput.

    Args:
        name: name of the argument, for errors.

    Raises:
        InvalidInput: the code inside raised one of these errors.
    """
    try:
        yield
    except InvalidInput:
        raise
    except MemoryError as error:
        raise InvalidInput(f"{name}: expected an array that fits in memory ({error})") from error
    except _UNREADABLE as error:
        raise InvalidInput(
            f"{name}: expected an array of numbers, got a value that numpy cannot read ({error}); "
            f"pass a torch tensor as .detach().cpu(), a sparse one as .to_dense(), and bfloat16 as "
            f".float()"
        ) from error


def array_of(name: str, values: object, *, masked: int | None = None) -> NDArray[Any]:
    """Convert any array-like to a numpy array, of any dtype except object.

    Args:
        name: name of the argument, for errors.
        values: an array, nested sequences of numbers, or any other object that numpy can read.
        masked: value for the masked entries of a numpy masked array; `None` refuses them.

    Raises:
        InvalidInput: `values` cannot be read or is larger than `LARGEST`, or an entry is missing
            (masked, None, pandas' NA) or is an object that is not a number.
    """
    with readable(name):
        if isinstance(values, list | tuple) and _holds_masked(values, _DEEPEST):
            raise InvalidInput(
                f"{name}: expected a masked array on its own, got one inside a "
                f"{type(values).__name__}; fill its masked entries, or pass only that array"
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
    """Convert integers to a new int64 array in C order.

    Args:
        name: name of the argument, for errors.
        values: as in `array_of`.
        masked: as in `array_of`.

    Raises:
        InvalidInput: `array_of` refuses the values, they are not integers, or one is beyond int64.
    """
    array = array_of(name, values, masked=masked)
    if array.dtype.kind not in "iu":
        if array.shape == (0,):
            # numpy reads an empty list as float64.
            return np.zeros(0, np.int64)
        if array.dtype.kind == "f":
            check_finite(name, array)
            advice = "; cast them with .astype(int)" if (array == np.round(array)).all() else ""
            raise InvalidInput(f"{name}: expected integers, got {array.dtype}{advice}")
        raise InvalidInput(f"{name}: expected integers, got {array.dtype}")
    with readable(name):
        if array.dtype.kind == "u" and array.size and int(array.max()) > np.iinfo(np.int64).max:
            raise InvalidInput(f"{name}: expected values below 2^63, got {array.max()}")
        return array.astype(np.int64, order="C")


def reals(name: str, values: object) -> NDArray[np.float64]:
    """Convert real numbers to a new float64 array in C order; they may be NaN or infinite.

    Raises:
        InvalidInput: `array_of` refuses the values, or they are not real numbers.
    """
    array = array_of(name, values)
    if array.dtype.kind not in "fiu":
        raise InvalidInput(f"{name}: expected numbers, got {array.dtype}")
    with readable(name), np.errstate(over="ignore"):
        return array.astype(np.float64, order="C")


def float32(name: str, array: NDArray[Any]) -> NDArray[np.float32]:
    """Convert finite numbers to a new float32 array in C order.

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
    """Check that all numbers are finite.

    Raises:
        InvalidInput: a number is NaN or infinite.
    """
    with readable(name):
        wrong = first(~np.isfinite(array))
    if wrong is not None:
        raise InvalidInput(f"{name}: expected finite numbers, got {array[wrong]}{place(wrong)}")


def check_range(name: str, array: Integers, least: int, most: int) -> None:
    """Check that all integers are in least .. most.

    Raises:
        InvalidInput: an integer is outside the range.
    """
    wrong = first((array < least) | (array > most))
    if wrong is not None:
        raise InvalidInput(
            f"{name}: expected values in {least} .. {most}, got {array[wrong]}{place(wrong)}"
        )


def first(wrong: NDArray[np.bool_] | np.bool_) -> tuple[int, ...] | None:
    """Return the index of the first true entry, or None if all are false."""
    found = np.argwhere(wrong)
    return tuple(int(i) for i in found[0]) if len(found) else None


def concatenated(parts: Sequence[T]) -> T:
    """Concatenate the arrays of dataclasses of consecutive rows.

    A field may be such a dataclass itself. Other fields are taken from the first one.
    """
    rows: dict[str, Any] = {}
    for name in (field.name for field in fields(parts[0])):
        values = [getattr(part, name) for part in parts]
        if isinstance(values[0], np.ndarray):
            rows[name] = np.concatenate(values)
        elif is_dataclass(values[0]):
            rows[name] = concatenated(values)
    return replace(parts[0], **rows)


def place(index: tuple[int, ...]) -> str:
    """Return " at index (...)" for an error; empty for an array without axes."""
    return f" at index {index}" if index else ""


def _holds_masked(values: list[Any] | tuple[Any, ...], depth: int) -> bool:
    """Return whether nested sequences hold a masked array, whose mask numpy would drop."""
    return any(
        isinstance(each, np.ma.MaskedArray)
        or (depth > 0 and isinstance(each, list | tuple) and _holds_masked(each, depth - 1))
        for each in values
    )


def _filled(name: str, array: NDArray[Any], mask: NDArray[Any], masked: int | None) -> NDArray[Any]:
    """Replace the masked entries of an array."""
    wrong = first(mask)
    if wrong is None:
        return array
    if masked is None:
        raise InvalidInput(
            f"{name}: expected no masked entries, got one{place(wrong)}; fill it or leave it out"
        )
    if array.dtype.kind not in "iuO":
        raise InvalidInput(f"{name}: expected integers, got {array.dtype}")
    # The values behind the mask may be anything, and the dtype may be too small for `masked`.
    wide = np.int64 if array.dtype.kind == "i" else object
    result = array.astype(wide)
    result[mask] = masked
    return result


def _plain(name: str, array: NDArray[Any]) -> NDArray[Any]:
    """Convert an array of objects that are all numbers to an array of numbers."""
    for index, each in np.ndenumerate(array):
        if not isinstance(each, Real) or isinstance(each, bool):
            raise InvalidInput(f"{name}: expected numbers, got {shown(each)}{place(index)}")
    result = np.array(array.tolist()).reshape(array.shape)
    if result.dtype.kind == "O":
        raise InvalidInput(
            f"{name}: expected numbers of at most 64 bits, got {shown(array.tolist())}"
        )
    return result
