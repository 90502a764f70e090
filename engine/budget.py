"""How much goes through a graph at a time, so that memory is bounded: every limit, in one place."""

import math
from typing import NamedTuple

from ancestral.arrays import LARGEST
from ancestral.errors import InvalidInput
from ancestral.scalars import whole
from ancestral.signature import BYTES, GraphSignature


class Budget(NamedTuple):
    """What one batch may take on a device.

    Attributes:
        bytes: memory for what its rows carry.
        rows: of a batch at most.
    """

    bytes: int
    rows: int


HOST_BUDGET = Budget(2**29, 256)
"""On a CPU, where more rows would not be faster."""
BLOCK = 2**22
"""Logits, or attention weights of 8 heads, that a block may hold at a time."""
PARALLEL = 2**25
"""Logits, attention weights of 8 heads, or activations that one call of a graph may hold."""
DECODED = 2**22
"""Numbers that a decoder may make in one call."""
CACHED = 2**20
"""Numbers that a decoder makes of a bound's latents at a time: they stay in a processor's cache."""
LABELLED = 1024
"""Pairs of an event and a class that are laid out at a time."""
WINDOWS = 64
"""Windows of a text that are laid out at a time."""


def fitting(limit: int, each: int) -> int:
    """How many things of that size fit into a limit; at least one."""
    return max(1, limit // max(1, each))


def rows_in_block(block: int, levels: int) -> int:
    """How many rows may go through a block of that many positions at a time."""
    return fitting(BLOCK, block * max(levels, 8 * block))


def positions_in_block(block: int, levels: int) -> int:
    """How many positions of a block one row may go through at a time."""
    return min(block, fitting(BLOCK, max(levels, 8 * block)))


def parallel_rows(length: int, levels: int) -> int:
    """How many events of that many positions one call of a parallel graph may have."""
    return fitting(PARALLEL, length * max(levels, 8 * length, 1024))


def bytes_of_row(signature: GraphSignature) -> int:
    """Memory that a row of a loop carries."""
    return sum(
        math.prod(spec.shape({"b": 1, "s": 1})) * BYTES[spec.dtype] for spec in signature.inputs
    )


def rows_of_batch(signature: GraphSignature, room: Budget, batch: object, n: int) -> int:
    """How many rows a batch of n samples has: as many as a user asks for, or by memory.

    Raises:
        InvalidInput: it is not a number of rows, or they would be absurdly large.
    """
    each = bytes_of_row(signature)
    if batch is None:
        return min(room.rows, fitting(room.bytes, each))
    rows = min(whole("batch", batch, 1), n)
    check_size("batch", rows, each)
    return rows


def check_size(name: str, value: int, each: int) -> None:
    """Refuse what would make an absurdly large array.

    Args:
        name: of the argument that says how many.
        value: how many.
        each: bytes of each.

    Raises:
        InvalidInput: it would.
    """
    if value * each > LARGEST:
        raise InvalidInput(
            f"{name}: expected at most {LARGEST // each} in one call, which are "
            f"{LARGEST // 2**30} GiB, got {value}: ask for fewer at a time"
        )
