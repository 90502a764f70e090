"""Rows of the tensors of a loop, for every runtime."""

from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

import numpy as np

from ancestral.engine.session import Array
from ancestral.errors import InvalidInput

T = TypeVar("T")


def turns(rows: int, most: int) -> Iterator[slice]:
    """All rows in order, at most so many at a time."""
    return (slice(start, min(start + most, rows)) for start in range(0, rows, most))


def tensor_of(tensors: Mapping[str, T], name: str) -> T:
    """The tensor of that name.

    Raises:
        InvalidInput: there is none.
    """
    if name not in tensors:
        raise InvalidInput(f"tensor: expected one of {sorted(tensors)}, got {name!r}")
    return tensors[name]


def check_part(name: str, array: Array, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
    """Check an array that is to be written into some rows of a tensor.

    Raises:
        InvalidInput: it has another shape or type than these rows.
    """
    if array.shape != shape or array.dtype != dtype:
        raise InvalidInput(f"{name}: expected {dtype} {shape}, got {array.dtype} {array.shape}")
