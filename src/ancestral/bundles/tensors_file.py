"""Read and check the header of a safetensors file before a library maps the file."""

import math
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ancestral.arrays import shown
from ancestral.files.input_file import open_regular
from ancestral.limits import HEADER_BYTES, SIZE
from ancestral.strict_json import Bounds, parse

_BITS: Mapping[str, int] = {
    **dict.fromkeys(("F64", "I64", "U64", "C64"), 64),
    **dict.fromkeys(("F32", "I32", "U32"), 32),
    **dict.fromkeys(("F16", "BF16", "I16", "U16"), 16),
    **dict.fromkeys(("I8", "U8", "BOOL"), 8),
    **dict.fromkeys(("F8_E4M3", "F8_E5M2", "F8_E8M0", "F8_E4M3FNUZ", "F8_E5M2FNUZ"), 8),
    **dict.fromkeys(("F6_E2M3", "F6_E3M2"), 6),
    "F4": 4,
}
"""Bits per number of each dtype of the format."""
_NUMPY: Mapping[str, str] = {"F64": "<f8", "F32": "<f4", "I64": "<i8", "I32": "<i4"}
_SMALL = 2**17
"""Most numbers of an array that is read to be checked."""
_METADATA = "__metadata__"
_AXES = 16


class Stored(NamedTuple):
    """Tensor in the file: dtype by the format's name, shape, and offset of its bytes."""

    dtype: str
    shape: tuple[int, ...]
    start: int


def read_header(file: Path, longest: int = HEADER_BYTES) -> dict[str, Stored]:
    """Return the tensors of a safetensors file by name; only the header is read.

    Args:
        file: path of the file.
        longest: most bytes that its header may have.

    Raises:
        InvalidInput: the path is not a regular file; the message names it.
        ValueError: the file is not a safetensors file, or a tensor is not inside it.
        OSError: the file cannot be read.
    """
    with open_regular(file) as opened:
        size = os.fstat(opened.fileno()).st_size
        length = int.from_bytes(opened.read(8), "little")
        if not 2 <= length <= min(longest, size - 8):
            raise ValueError(f"not a safetensors file: its header claims {length:,} bytes")
        content = opened.read(length)
    bounds = Bounds(longest, values=longest // 4, keys=longest // 8, depth=4)
    try:
        header = parse(content, bounds)
        if not isinstance(header, dict):
            raise ValueError("expected an object")
        return {
            name: _stored(entry, 8 + length, size)
            for name, entry in header.items()
            if name != _METADATA
        }
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"not a valid safetensors file: {error}") from error


def read_small(
    file: Path, header: Mapping[str, Stored], names: Iterable[str]
) -> dict[str, NDArray[Any]]:
    """Read those named tensors that exist, are small, and have a dtype that numpy has.

    Raises:
        OSError: the file cannot be read.
    """
    found = {}
    with file.open("rb") as opened:
        for name in names:
            stored = header.get(name)
            if stored is None or stored.dtype not in _NUMPY or math.prod(stored.shape) > _SMALL:
                continue
            opened.seek(stored.start)
            array = np.fromfile(opened, _NUMPY[stored.dtype], math.prod(stored.shape))
            if array.size == math.prod(stored.shape):
                found[name] = array.reshape(stored.shape)
    return found


def _stored(entry: Any, base: int, size: int) -> Stored:
    """Return a tensor of the header.

    Args:
        entry: entry of the tensor in the header.
        base: offset in the file at which the data begin.
        size: size of the file in bytes.

    Raises:
        KeyError, TypeError, ValueError: the entry is malformed, or the tensor is not in the file.
    """
    dtype, shape, (start, end) = entry["dtype"], entry["shape"], entry["data_offsets"]
    numbers = [*shape, start, end]
    if len(shape) > _AXES or not all(type(n) is int and 0 <= n <= SIZE for n in numbers):
        raise ValueError(f"expected a shape and two offsets, got {shown(entry)}")
    if dtype not in _BITS:
        raise ValueError(f"expected a known dtype, got {shown(dtype)}")
    if base + end > size or (end - start) * 8 != math.prod(shape) * _BITS[dtype]:
        raise ValueError(f"a tensor is not inside the file: {shown(entry)}")
    return Stored(dtype, tuple(shape), base + start)
