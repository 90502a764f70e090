"""The cache of a row: copied to another row, to the host, and back.

Only the slots of the first positions are copied where a tensor has one axis of slots. Otherwise the
whole row is copied, which gives the same results: slots from a row's position on are masked.
"""

from collections.abc import Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from ancestral import step_tensors as names
from ancestral.engine.session import Array, Binding, Part
from ancestral.signature import GraphSignature, Update

Cache = Mapping[str, Array]
"""Host copies of the cache of a row and of its log p, by name."""


def copy_row(
    signature: GraphSignature, binding: Binding, source: int, target: int, positions: int
) -> None:
    """Copy the cache of a row, and its log p, to another row.

    Args:
        signature: signature of the step graph.
        binding: its binding.
        source: row to copy from.
        target: row to copy to.
        positions: number of first positions that are copied; a state is copied as it is.
    """
    for name, axis in _tensors(signature):
        binding.copy(name, _part(source, positions, axis), _part(target, positions, axis))


def read_row(signature: GraphSignature, binding: Binding, row: int, positions: int) -> Cache:
    """Return host copies of the cache of a row, and of its log p, for its first positions."""
    return {
        name: binding.read(name, _part(row, positions, axis)) for name, axis in _tensors(signature)
    }


def write_row(
    signature: GraphSignature, binding: Binding, row: int, positions: int, cache: Cache
) -> None:
    """Write the first positions of host copies into a row."""
    for name, axis in _tensors(signature):
        binding.write(name, cache[name][_part(0, positions, axis)], _part(row, positions, axis))


def bytes_of(signature: GraphSignature, positions: int) -> int:
    """Return the bytes of host copies of a row's first positions."""
    total = 0
    for name, axis in _tensors(signature):
        spec = signature.input(name)
        shape = list(spec.shape({"b": 1}))
        if axis is not None:
            shape[axis] = positions
        total += int(np.prod(shape)) * spec.host.itemsize
    return total


def keep(binding: Binding, row: int, values: NDArray[np.int64]) -> None:
    """Let a row that draws nothing any longer observe the values that it has, [t].

    Whatever steps it takes with the other rows then leave its first positions as they are.
    """
    binding.write(names.OBSERVED, np.ascontiguousarray(values[None]), slice(row, row + 1))


def distrust(binding: Binding, row: int) -> None:
    """Mark a row whose cache may hold NaN that no log-probability shows.

    Its next tenant gets an initial cache, and the binding is not kept for a later call.
    """
    write_log_p(binding, row, np.full_like(read_log_p(binding, row), np.nan))


def read_log_p(binding: Binding, row: int) -> NDArray[np.float32]:
    """Return log p of a row, in nats, [t]."""
    found: NDArray[np.float32] = binding.read(names.LOG_P, slice(row, row + 1))[0]
    return found


def write_log_p(binding: Binding, row: int, past: NDArray[np.float32]) -> None:
    """Write log p of the first positions of a row, in nats, [n]."""
    binding.write(names.LOG_P, past[None], (slice(row, row + 1), slice(0, len(past))))


def _tensors(signature: GraphSignature) -> Iterator[tuple[str, int | None]]:
    """Yield the names of log p and of each tensor of the cache, with its axis of slots."""
    length = signature.input(names.VALUES).axes[1]
    for pair in signature.carried:
        if pair.input in names.STATE and pair.input != names.LOG_P:
            continue
        axes = signature.input(pair.input).axes
        slots = pair.update is Update.APPEND and axes.count(length) == 1
        yield pair.input, axes.index(length) if slots else None


def _part(row: int, positions: int, axis: int | None) -> Part:
    """Return the part of a tensor that belongs to the first positions of a row."""
    rows = slice(row, row + 1)
    if axis is None:
        return rows
    return (rows, *[slice(None)] * (axis - 1), slice(0, positions))
