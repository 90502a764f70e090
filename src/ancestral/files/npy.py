"""Read an array in numpy's .npy format without trusting its header and without unpickling.

References:
    numpy.lib.format: the format, versions 1.0, 2.0 and 3.0.
"""

import ast
import math
import re
from contextlib import suppress
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ancestral.arrays import shown
from ancestral.errors import InvalidInput
from ancestral.files.input_file import Stream, fill, size_text

MAGIC = b"\x93NUMPY"
_LARGEST_HEADER = 10_000
"""Most bytes in the text of a header, as in numpy."""
_AXES = 64
"""Most axes of a numpy array."""
_TYPE = re.compile(r"[<>=|]?(?P<kind>[?a-zA-Z])\d*(\[.*\])?", re.ASCII)
_NUMBERS = "?biufc"
_OTHERS = {
    "O": "Python objects, which only a pickle holds",
    "U": "text",
    "S": "bytes",
    "a": "bytes",
    "M": "dates",
    "m": "spans of time",
    "V": "raw bytes (numpy saves bfloat16 as such; cast it to float32 first)",
}


def read_npy(stream: Stream, size: int, place: str, limit: int) -> NDArray[Any]:
    """Read the array of an .npy, in the byte order of this machine.

    The header is compared with the limit and the size of the file before memory is allocated.

    Args:
        stream: stream at the first byte of the .npy.
        size: bytes of the .npy, after which the stream ends.
        place: name of the array in errors.
        limit: most bytes that the array may have.

    Raises:
        InvalidInput: the content is not an .npy of numbers, is truncated or too long, or the array
            is larger than the limit.
    """
    dtype, shape, fortran, start = _header(stream, place)
    count = math.prod(shape)
    length = count * dtype.itemsize
    what = f"shape {shown(shape)} of {dtype}"
    if length > limit:
        raise InvalidInput(
            f"{place}: expected an array of at most {size_text(limit)}, got {what}, "
            f"{size_text(length)}; pass fewer events, save them as a smaller dtype such as uint8, "
            f"or in Python pass a larger `limit`"
        )
    if start + length != size:
        raise InvalidInput(
            f"{place}: expected {length:,} bytes for {what}, got {size - start:,}; the file is "
            f"truncated or does not match its header"
        )
    try:
        values = np.empty(count, dtype)
        done = fill(stream, values.view(np.uint8))
        if dtype.kind == "b":
            # Bytes other than 0 and 1 would be invalid bools in numpy.
            values = values.view(np.uint8) != 0
        native = values.astype(dtype.newbyteorder("="), copy=False)
        array = native.reshape(shape, order="F" if fortran else "C")
    except (MemoryError, ValueError) as error:
        raise InvalidInput(
            f"{place}: expected an array that fits in memory, got {what}, {size_text(length)} "
            f"({error})"
        ) from error
    if done < length:
        raise InvalidInput(
            f"{place}: expected {length:,} bytes of values, got {done:,}; the file is truncated"
        )
    return array


def _header(stream: Stream, place: str) -> tuple[np.dtype[Any], tuple[int, ...], bool, int]:
    """Read the header of an .npy, which is parsed as a literal and never executed.

    Returns:
        The dtype of the array, numeric or bool; its shape; whether it is in Fortran order; and the
        number of bytes before the first value.

    Raises:
        InvalidInput: the header is not that of an array of numbers, or is too long.
    """
    start = stream.read(8)
    if len(start) < 8 or not start.startswith(MAGIC):
        raise InvalidInput(f"{place}: expected an .npy, got bytes {shown(start)}")
    version = (start[6], start[7])
    if version not in {(1, 0), (2, 0), (3, 0)}:
        raise InvalidInput(
            f"{place}: expected an .npy of version 1.0, 2.0 or 3.0, got {version[0]}.{version[1]}"
        )
    width = 2 if version == (1, 0) else 4
    length = int.from_bytes(_exactly(stream, width, place), "little")
    if length > _LARGEST_HEADER:
        raise InvalidInput(
            f"{place}: expected a header of at most {_LARGEST_HEADER:,} bytes, got {length:,}"
        )
    encoding = "utf-8" if version == (3, 0) else "latin-1"
    text = _exactly(stream, length, place).decode(encoding, "replace")
    try:
        # Python 2 wrote long integers as 3L.
        fields = ast.literal_eval(re.sub(r"(\d)L\b", r"\1", text.strip()))
    except (SyntaxError, ValueError, TypeError, MemoryError, RecursionError):
        fields = None
    if (
        not isinstance(fields, dict)
        or set(fields) != {"descr", "fortran_order", "shape"}
        or not isinstance(fields["fortran_order"], bool)
    ):
        raise InvalidInput(f"{place}: expected the header of an .npy, got {shown(text)}")
    shape = fields["shape"]
    if (
        not isinstance(shape, tuple)
        or len(shape) > _AXES
        or not all(type(each) is int and 0 <= each < 2**63 for each in shape)
    ):
        raise InvalidInput(
            f"{place}: expected a shape of at most {_AXES} axes of 0 .. 2^63 - 1, got "
            f"{shown(shape)}"
        )
    dtype = _dtype(fields["descr"], place)
    return dtype, shape, fields["fortran_order"], 8 + width + length


def _exactly(stream: Stream, size: int, place: str) -> bytes:
    content = stream.read(size)
    if len(content) < size:
        raise InvalidInput(f"{place}: expected an .npy, got a truncated header")
    return content


def _dtype(description: object, place: str) -> np.dtype[Any]:
    """Return a numeric dtype.

    Raises:
        InvalidInput: the description is not that of a numeric dtype.
    """
    found = _TYPE.fullmatch(description) if isinstance(description, str) else None
    kind = "" if found is None else found["kind"]
    if kind and kind in _NUMBERS:
        with suppress(TypeError):
            return np.dtype(str(description))
    what = "a table of named columns" if isinstance(description, list) else "an unknown dtype"
    raise InvalidInput(
        f"{place}: expected integers or real numbers, got {_OTHERS.get(kind, what)} "
        f"({shown(description)}); save an array of numbers"
    )
