"""Two arrays that should be one: how far apart, where, and how far they may be.

What is between the input and the answer has no unit, so a limit is relative: to the largest
magnitude of the tensor, for rounding is relative to what was rounded, and that may have cancelled.

Each result is rounded to its type, and a sum is kept in float32: the relative error of a node is
its type's epsilon, and float32's times the square root of the length of the sum, for errors of
rounding add up like the steps of a random walk. So do the errors of several nodes.
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
"""Runtimes are as exact as 1 asks for: ONNX Runtime's sigmoid of -20 is 0."""


@dataclass(frozen=True, slots=True)
class Mismatch:
    """Where two arrays differ by more than rounding.

    Attributes:
        kind: value; or shape, or type (of numbers: floating, integer, boolean).
        place: index of the element that is farthest off.
        got: the element, or what the array is.
        expected: the same of the reference.
        absolute: their distance; infinite where one is NaN or infinite, or the arrays are unlike.
        relative: that over the largest magnitude of the tensor.
        limit: of the distance.
        count: of elements beyond it.
        size: of elements.
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
    """Where two arrays differ, None where they agree; and the largest distance over its limit."""

    mismatch: Mismatch | None
    share: float


def compare(got: Array, expected: Array, relative: float, *, largest: float = 0.0) -> Comparison:
    """Compare an array with the reference's.

    Args:
        got: of any type; NaN and infinities agree only with the same.
        expected: integers and booleans agree exactly.
        relative: limit of a distance, over the largest magnitude of both.
        largest: magnitude of what the array was made from, where that counts too.
    """
    infinite, size = math.inf, got.size
    if got.shape != expected.shape or _kind(got) != _kind(expected):
        kind = "shape" if got.shape != expected.shape else "type"
        said, other = (f"{array.dtype} {list(array.shape)}" for array in (got, expected))
        mismatch = Mismatch(kind, (), said, other, infinite, infinite, 0.0, size, size)
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
    """Compare what a node made, with a limit by what it read.

    Args:
        got: what it made.
        expected: what it should be near.
        through: nodes in a row that made it, the last of them itself.
        values: inputs and tensors of its graph.
        variance: of the relative error; that of these nodes where None.
    """
    if variance is None:
        variance = error_variance(through, values)
    # Where large numbers cancel, what is left is as far off as they are.
    sums = [node for node in through if node.op_type in _SUMS]
    summed = [name for node in sums for name in (*node.input, *node.output)]
    largest = largest_of(values[name] for name in summed if name in values)
    if through[-1].op_type in _PROBABILITIES:
        largest = max(largest, 1.0)
    relative = math.sqrt(max(variance, _epsilon([got, expected]) ** 2))
    return compare(got, expected, ROUNDINGS * relative, largest=largest)


def error_variance(nodes: Iterable[NodeProto], values: Mapping[str, Array]) -> float:
    """Variance of the relative error that nodes add; moves of numbers and integers add none."""
    total = 0.0
    for node in nodes:
        results = [values[name] for name in made(node) if name in values]
        if node.op_type not in MOVES and any(map(is_floating, results)):
            read = (values[name] for name in node.input if name in values)
            longest = max((size for array in (*read, *results) for size in array.shape), default=1)
            total += _epsilon(results) ** 2 + longest * EPSILON["float32"] ** 2
    return total


def largest_of(arrays: Iterable[Array]) -> float:
    """Largest finite magnitude of floating arrays."""
    wide = (array.astype(np.float64) for array in arrays if is_floating(array))
    return max((float(np.abs(a[np.isfinite(a)]).max(initial=0.0)) for a in wide), default=0.0)


def is_floating(array: Array) -> bool:
    """Whether it is of a floating type, bfloat16 too."""
    return _kind(array) == "floating"


def _kind(array: Array) -> str:
    return {"b": "boolean", "i": "integer", "u": "integer"}.get(array.dtype.kind, "floating")


def _epsilon(arrays: Iterable[Array]) -> float:
    """Machine epsilon of the coarsest floating type."""
    return max((EPSILON[str(each.dtype)] for each in arrays if is_floating(each)), default=0.0)


def _distance(near: Floats, exact: Floats) -> Floats:
    """|near - exact|: 0 where both are the same, NaN too, and infinite where one is not finite."""
    with np.errstate(invalid="ignore", over="ignore"):
        distance = np.abs(near - exact)
        same = (near == exact) | (np.isnan(near) & np.isnan(exact))
    return np.where(same, 0.0, np.where(np.isnan(distance), np.inf, distance))
