"""Rows of the tensors of a loop, for every runtime."""

from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

import numpy as np

from ancestral.engine.session import Array
from ancestral.errors import InvalidInput

T = TypeVar("T")
_BLOCK_NUMBERS = 2**22
"""Logits, or attention weights of 8 heads, that a block may hold at a time."""


def rows_in_block(block: int, levels: int) -> int:
    """How many rows may go through a block of that many positions at a time."""
    return max(1, _BLOCK_NUMBERS // (block * max(levels, 8 * block)))


def positions_in_block(block: int, levels: int) -> int:
    """How many positions of a block one row may go through at a time."""
    return max(1, min(block, _BLOCK_NUMBERS // max(levels, 8 * block)))


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
