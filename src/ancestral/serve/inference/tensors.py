"""Input tensors of a request, as JSON or as bytes, to numpy arrays.

Sizes are compared before memory is taken: what a shape claims has to be what came.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ancestral.arrays import first, place, shown
from ancestral.errors import InvalidInput
from ancestral.excerpts import quoted
from ancestral.serve.inference.protocol import BINARY_SIZE, HEADER, InputTensor

Array = NDArray[Any]
NUMBERS: Mapping[str, np.dtype[Any]] = {
    "UINT8": np.dtype("<u1"),
    "UINT16": np.dtype("<u2"),
    "UINT32": np.dtype("<u4"),
    "UINT64": np.dtype("<u8"),
    "INT8": np.dtype("<i1"),
    "INT16": np.dtype("<i2"),
    "INT32": np.dtype("<i4"),
    "INT64": np.dtype("<i8"),
    "FP16": np.dtype("<f2"),
    "FP32": np.dtype("<f4"),
    "FP64": np.dtype("<f8"),
}
"""Types of numbers by their names in the protocol; the bytes of a tensor are little-endian."""
_BEYOND = 2.0**63


@dataclass(frozen=True, slots=True)
class Tensor:
    """An input or output of a model.

    Attributes:
        name: its name.
        datatype: type of its elements in the protocol. An input of integers also takes reals that
            are whole, and an input of reals any type of numbers.
        shape: its shape; -1 is any length from 1.
        about: what it holds.
        unit: its unit; empty without one.
        optional: whether it may be left out.
    """

    name: str
    datatype: str
    shape: tuple[int, ...]
    about: str
    unit: str = ""
    optional: bool = False

    def fits(self, shape: Sequence[int]) -> bool:
        """Return whether a tensor may have a shape."""
        return len(shape) == len(self.shape) and all(
            size == wanted or (wanted < 0 and size > 0)
            for size, wanted in zip(shape, self.shape, strict=True)
        )

    def __str__(self) -> str:
        return f"{self.datatype} {list(self.shape)}"


def split(content: bytes, header: str | None) -> tuple[bytes, memoryview]:
    """Return the JSON document of a body, and the bytes of the tensors after it.

    Args:
        content: the body.
        header: value of the header that gives the bytes of the document; None if all is JSON.

    Raises:
        InvalidInput: the header is not such a number.
    """
    if header is None:
        return content, memoryview(b"")
    digits = header.isascii() and header.isdecimal() and len(header) < 20
    if not digits or int(header) > len(content):
        raise InvalidInput(
            f"{HEADER}: expected an integer in 0 .. {len(content)}, the bytes of the body, got "
            f"{quoted(header)}"
        )
    return content[: int(header)], memoryview(content)[int(header) :]


def arrays_of(
    known: Sequence[Tensor], given: Sequence[InputTensor], content: memoryview
) -> dict[str, Array]:
    """Return the input tensors of a request by name, checked against a model.

    Args:
        known: inputs of the model.
        given: inputs of the request.
        content: bytes of the binary ones, one after another.

    Raises:
        InvalidInput: an input is missing, unknown, given twice, or of a wrong type, shape or size.
    """
    by_name, found, at = {each.name: each for each in known}, dict[str, Array](), 0
    for each in given:
        if each.name not in by_name:
            names = ", ".join(by_name)
            raise InvalidInput(f"inputs: expected some of {names}, got {quoted(each.name)}")
        if each.name in found:
            raise InvalidInput(f"input {each.name}: expected it once, got it twice")
        tensor = by_name[each.name]
        _check_form(tensor, each)
        if each.data is None:
            size = _bytes_of(each)
            array = _from_bytes(each, content[at : at + size], size)
            at += size
        else:
            array = _from_json(each, each.data)
        found[each.name] = _whole(each.name, array) if "INT" in tensor.datatype else array
    for tensor in known:
        if not tensor.optional and tensor.name not in found:
            raise InvalidInput(f"input {tensor.name}: {tensor} is required")
    if at != len(content):
        raise InvalidInput(
            f"body: expected {at:,} bytes of tensors after the JSON document, got {len(content):,}"
        )
    return found


def _check_form(tensor: Tensor, given: InputTensor) -> None:
    """Check the type and the shape of an input.

    Raises:
        InvalidInput: one of them is wrong.
    """
    if given.datatype not in NUMBERS:
        raise InvalidInput(
            f"input {tensor.name}: expected {tensor.datatype} or another of {', '.join(NUMBERS)}, "
            f"got {quoted(given.datatype)}"
        )
    if not tensor.fits(given.shape):
        raise InvalidInput(
            f"input {tensor.name}: expected shape {list(tensor.shape)}, got {shown(given.shape)}"
        )
    if (given.data is None) == (BINARY_SIZE not in given.parameters):
        got = "neither" if given.data is None else "both"
        raise InvalidInput(
            f"input {tensor.name}: expected either data or the parameter {BINARY_SIZE}, got {got}"
        )


def _bytes_of(given: InputTensor) -> int:
    """Return the bytes of a binary input.

    Raises:
        InvalidInput: they are not those of its shape.
    """
    claimed = given.parameters[BINARY_SIZE]
    size = math.prod(given.shape) * NUMBERS[given.datatype].itemsize
    if type(claimed) is not int or claimed != size:
        raise InvalidInput(
            f"input {given.name}: expected {BINARY_SIZE} {shown(size)} for {given.datatype} "
            f"{shown(given.shape)}, got {shown(claimed)}"
        )
    return size


def _from_bytes(given: InputTensor, content: memoryview, size: int) -> Array:
    """Return a binary input, as a view of the body.

    Raises:
        InvalidInput: the body ends before it.
    """
    if len(content) < size:
        raise InvalidInput(
            f"input {given.name}: expected {shown(size)} bytes after the JSON document, got "
            f"{len(content)}; {HEADER} has to give the bytes of the document"
        )
    return np.frombuffer(content, NUMBERS[given.datatype]).reshape(given.shape)


def _from_json(given: InputTensor, data: list[Any]) -> Array:
    """Return an input from its elements, flat or nested.

    Raises:
        InvalidInput: there are more or fewer than in its shape, or one is not of its type.
    """
    dtype, flat = NUMBERS[given.datatype], _flat(data, given.shape)
    if flat is None:
        raise InvalidInput(
            f"input {given.name}: expected {shown(math.prod(given.shape))} values, flat or nested "
            f"as {shown(given.shape)}, got {shown(data)}"
        )
    kinds = {int} if dtype.kind in "iu" else {int, float}
    if not kinds.issuperset(map(type, flat)):
        at, wrong = next((i, each) for i, each in enumerate(flat) if type(each) not in kinds)
        raise InvalidInput(
            f"input {given.name}: expected values of {given.datatype}, got {shown(wrong)} at "
            f"{at} of the flat data"
        )
    try:
        if dtype.kind in "iu":
            return np.array(flat, dtype).reshape(given.shape)
        double = np.array(flat, np.float64).reshape(given.shape)
    except OverflowError as error:
        raise InvalidInput(
            f"input {given.name}: expected values of {given.datatype}, got one beyond its range"
        ) from error
    with np.errstate(over="ignore"):
        found = double.astype(dtype)
    wrong = first(np.isinf(found) & np.isfinite(double))
    if wrong is not None:
        raise InvalidInput(
            f"input {given.name}: expected values of {given.datatype}, got {double[wrong]}"
            f"{place(wrong)}"
        )
    return found


def _flat(data: list[Any], shape: Sequence[int]) -> list[Any] | None:
    """Return the elements of flat or nested lists in order; None if they are not of the shape.

    >>> _flat([[1, 2], [3, 4]], (2, 2)), _flat([1, 2, 3, 4], (2, 2)), _flat([[1], [2, 3]], (2, 2))
    ([1, 2, 3, 4], [1, 2, 3, 4], None)
    """
    if set(map(type, data)) != {list}:
        return data if len(data) == math.prod(shape) else None
    level = [data]
    for size in shape:
        if set(map(type, level)) != {list} or set(map(len, level)) != {size}:
            return None
        level = list(chain.from_iterable(level))
    return level


def _whole(name: str, array: Array) -> Array:
    """Return whole numbers as integers.

    Raises:
        InvalidInput: a number is not whole, or is beyond int64.
    """
    if array.dtype.kind != "f":
        return array
    wide = array.astype(np.float64)
    wrong = first(~(np.isfinite(wide) & (wide == np.round(wide)) & (np.abs(wide) < _BEYOND)))
    if wrong is not None:
        raise InvalidInput(f"input {name}: expected integers, got {wide[wrong]}{place(wrong)}")
    return wide.astype(np.int64)
