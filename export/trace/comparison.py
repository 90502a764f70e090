"""Compare two arrays that should be equal: how far apart they are, where, and the limit.

Tensors inside a graph have no unit, so a limit is relative. It is relative to the largest magnitude
of the tensor, not to each number: rounding is relative to numbers that may cancel afterwards.

Each result is rounded to its type, and a sum is kept in float32. So the relative error of a node
has two parts: the epsilon of its type, and float32's epsilon times the square root of the length of
the sum, because rounding errors add up like the steps of a random walk. The errors of several nodes
add up in the same way.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto

from ancestral.export.trace.graph import MOVES, Array, made
from ancestral.parity import EPSILON, ROUNDINGS, SMALLEST_NORMAL

Floats = NDArray[np.float64]
Number = float | int | bool | str
_SUMS = {"Add", "Sub", "Sum", "Mean", "ReduceSum", "ReduceMean", "CumSum"}
_PROBABILITIES = {"Sigmoid", "Softmax"}
"""Operators whose error is relative to 1: ONNX Runtime's sigmoid of -20, for example, is 0."""


@dataclass(frozen=True, slots=True)
class Mismatch:
    """A difference of two arrays that is more than rounding.

    Attributes:
        kind: "value", "shape" or "type" (floating, integer or boolean).
        place: index of the element with the largest distance; empty for shape and type.
        got: the element; for shape and type, the array's type and shape as text.
        expected: the same for the reference.
        absolute: distance of the two; infinite if one is NaN or infinite, or for shape and type.
        relative: distance divided by the largest magnitude of the reference.
        limit: limit of the distance.
        count: number of elements beyond the limit.
        size: number of elements.
    """

    kind: str
    place: tuple[int, ...]
    got: Number
    expected: Number
    absolute: float
    relative: float
    limit: float
    count: int
    size: int


class Comparison(NamedTuple):
    """The mismatch of two arrays, None if they agree, and their largest distance over its limit."""

    mismatch: Mismatch | None
    share: float


def compare(got: Array, expected: Array, relative: float, *, largest: float = 0.0) -> Comparison:
    """Compare an array with the reference's.

    Integers and booleans have to be equal. NaN and infinities agree only with themselves.

    Args:
        got: array of any type.
        expected: array of the reference.
        relative: limit of a distance, relative to the largest magnitude of both arrays.
        largest: magnitude to take instead if it is larger, for example that of a sum's terms.
    """
    infinite, size = math.inf, got.size
    if got.shape != expected.shape or _kind(got) != _kind(expected):
        kind = "shape" if got.shape != expected.shape else "type"
        ours, theirs = (f"{array.dtype} {list(array.shape)}" for array in (got, expected))
        mismatch = Mismatch(kind, (), ours, theirs, infinite, infinite, 0.0, size, size)
        return Comparison(mismatch, infinite)
    near, exact = got.astype(np.float64), expected.astype(np.float64)
    distance, limit = _distance(near, exact), 0.0
    if is_floating(got):
        tiny = max(SMALLEST_NORMAL[str(each.dtype)] for each in (got, expected))
        limit = relative * max(largest_of([near, exact]), largest, tiny)
    beyond = int((distance > limit).sum())
    if not beyond:
        return Comparison(None, float(distance.max(initial=0.0)) / limit if limit else 0.0)
    place = tuple(map(int, np.unravel_index(int(distance.argmax()), distance.shape)))
    worst, scale = float(distance[place]), largest_of([exact])
    share = worst / scale if scale else infinite
    numbers = got[place].item(), expected[place].item()
    return Comparison(
        Mismatch("value", place, *numbers, worst, share, limit, beyond, size), infinite
    )


def compared(
    got: Array,
    expected: Array,
    through: Sequence[NodeProto],
    values: Mapping[str, Array],
    variance: float | None = None,
) -> Comparison:
    """Compare a node's result with the reference; the limit depends on the node's inputs.

    Args:
        got: result of the node.
        expected: result of the reference.
        through: nodes in order that made the result, the node itself last.
        values: inputs and tensors of the graph, by name.
        variance: variance of the relative error; None for that of the nodes `through`.
    """
    if variance is None:
        variance = error_variance(through, values)
    # If large numbers cancel, the rest has their absolute error.
    sums = [node for node in through if node.op_type in _SUMS]
    summed = [name for node in sums for name in (*node.input, *node.output)]
    largest = largest_of(values[name] for name in summed if name in values)
    if through[-1].op_type in _PROBABILITIES:
        largest = max(largest, 1.0)
    relative = math.sqrt(max(variance, _epsilon([got, expected]) ** 2))
    return compare(got, expected, ROUNDINGS * relative, largest=largest)


def error_variance(nodes: Iterable[NodeProto], values: Mapping[str, Array]) -> float:
    """Return the variance of the relative error that nodes add; moves and integers add none."""
    total = 0.0
    for node in nodes:
        results = [values[name] for name in made(node) if name in values]
        if node.op_type not in MOVES and any(map(is_floating, results)):
            read = (values[name] for name in node.input if name in values)
            longest = max((size for array in (*read, *results) for size in array.shape), default=1)
            total += _epsilon(results) ** 2 + longest * EPSILON["float32"] ** 2
    return total


def largest_of(arrays: Iterable[Array]) -> float:
    """Return the largest finite magnitude in the floating-point arrays; 0 without one."""
    wide = (array.astype(np.float64) for array in arrays if is_floating(array))
    return max((float(np.abs(a[np.isfinite(a)]).max(initial=0.0)) for a in wide), default=0.0)


def is_floating(array: Array) -> bool:
    """Whether an array has a floating-point type, bfloat16 included."""
    return _kind(array) == "floating"


def _kind(array: Array) -> str:
    return {"b": "boolean", "i": "integer", "u": "integer"}.get(array.dtype.kind, "floating")


def _epsilon(arrays: Iterable[Array]) -> float:
    """Return the machine epsilon of the coarsest floating-point type."""
    return max((EPSILON[str(each.dtype)] for each in arrays if is_floating(each)), default=0.0)


def _distance(near: Floats, exact: Floats) -> Floats:
    """Return |near - exact|: 0 for equal numbers or two NaN, infinite if only one is not finite."""
    with np.errstate(invalid="ignore", over="ignore"):
        distance = np.abs(near - exact)
        same = (near == exact) | (np.isnan(near) & np.isnan(exact))
    return np.where(same, 0.0, np.where(np.isnan(distance), np.inf, distance))
