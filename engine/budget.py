"""Limits on what one call of a graph holds, so that memory is bounded."""

import math
import os
from typing import NamedTuple

from ancestral.arrays import LARGEST
from ancestral.errors import InvalidInput
from ancestral.scalars import whole
from ancestral.signature import BYTES, GraphSignature


class Budget(NamedTuple):
    """What one batch may take on a device.

    Attributes:
        bytes: memory for the tensors of its rows.
        rows: largest number of rows.
    """

    bytes: int
    rows: int


HOST_BUDGET = Budget(2**29, 256)
"""Budget on a CPU, where more rows would not be faster."""
BLOCK = 2**22
"""Logits, or attention weights of 8 heads, that one call over a block may hold."""
PARALLEL = 2**25
"""Logits, attention weights of 8 heads, or activations that one call of a graph may hold."""
DECODED = 2**22
"""Numbers that a decoder may output in one call."""
CACHED = 2**20
"""Numbers decoded at a time for a bound, few enough to stay in a processor's cache."""
LABELLED = 1024
"""Pairs of an event and a class that are evaluated at a time."""
SLOTS = 16
"""Slots of a stream of requests, if the user does not give their number."""
CHUNK = 64
"""Positions of a prompt that are prefilled at a time, between steps of other rows."""
FEATURES = 1024
"""Features that a block holds for each position if it computes no logits."""
PREFIXES = 2**28
"""Bytes of caches that a stream keeps of requests that have left their slots."""
WINDOWS = 64
"""Windows of a text that are evaluated at a time."""


def fitting(limit: int, each: int) -> int:
    """Return how many items of size `each` fit into a limit, at least 1."""
    return max(1, limit // max(1, each))


def rows_in_block(block: int, levels: int) -> int:
    """Return how many rows may go through a block of `block` positions in one call."""
    return fitting(BLOCK, block * max(levels, 8 * block))


def positions_in_block(block: int, levels: int) -> int:
    """Return how many positions of a block may go through one call, for a single row."""
    return min(block, fitting(BLOCK, max(levels, 8 * block)))


def parallel_rows(length: int, levels: int) -> int:
    """Return how many events of `length` positions one call of a parallel graph may have."""
    return fitting(PARALLEL, length * max(levels, 8 * length, 1024))


def bytes_of_row(signature: GraphSignature) -> int:
    """Return the bytes of a loop's tensors per row."""
    return sum(
        math.prod(spec.shape({"b": 1, "s": 1})) * BYTES[spec.dtype] for spec in signature.inputs
    )


def rows_of_batch(signature: GraphSignature, room: Budget, batch: object, n: int) -> int:
    """Return the rows of a batch of n samples: the user's number, or as many as memory allows.

    Raises:
        InvalidInput: `batch` is not a positive integer, or its tensors would be absurdly large.
    """
    each = bytes_of_row(signature)
    if batch is None:
        return min(room.rows, fitting(room.bytes, each))
    rows = min(whole("batch", batch, 1), n)
    check_size("batch", rows, each)
    return rows


def slots(signature: GraphSignature, backend: tuple[str, Budget], wanted: object, n: int) -> int:
    """Return the slots of a stream: the user's number, or at most SLOTS that fit, and at most n.

    Args:
        signature: signature of the step graph.
        backend: its device, and what one batch may take on it.
        wanted: the user's number, or None.
        n: largest number that is useful.

    Raises:
        InvalidInput: `wanted` is not a positive integer, or does not fit in memory.
    """
    each, (device, room) = bytes_of_row(signature), backend
    if wanted is None:
        return max(1, min(SLOTS, n, room.rows, fitting(room.bytes, each)))
    number = whole("slots", wanted, 1)
    limit = memory_of_host() if device == "cpu" else room.bytes
    if number * each > limit:
        raise InvalidInput(
            f"slots: {number * each / 2**20:,.1f} MiB needed for {number}, "
            f"{limit / 2**20:,.1f} MiB available; use at most {limit // each}"
        )
    return number


def memory_of_host() -> int:
    """Return the bytes of this machine's memory."""
    return min(LARGEST, os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))


def check_size(name: str, value: int, each: int) -> None:
    """Check that `value` items do not make an absurdly large array.

    Args:
        name: name of the argument that gives the number of items.
        value: number of items.
        each: bytes per item.

    Raises:
        InvalidInput: the items would take more than `LARGEST` bytes.
    """
    if value * each > LARGEST:
        raise InvalidInput(
            f"{name}: expected at most {LARGEST // each} in one call "
            f"({LARGEST // 2**30} GiB), got {value}; use a smaller value"
        )
