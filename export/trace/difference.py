"""Two arrays that should be one: how far apart, and where.

What is between the input and the answer has no unit, so a limit is relative: to the largest
magnitude of the tensor, for rounding is relative to what was rounded, and that may have cancelled.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ancestral.export.trace.graph import Array
from ancestral.parity import EPSILON, SMALLEST_NORMAL

Floats = NDArray[np.float64]


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
    got: float | int | bool | str
    expected: float | int | bool | str
    absolute: float
    relative: float
    limit: float
    count: int
    size: int


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two arrays beside each other.

    Attributes:
        mismatch: None where they agree.
        share: the largest distance over its limit.
        limit: of a distance; 0 of integers and booleans.
    """

    mismatch: Mismatch | None
    share: float
    limit: float


def compare(got: Array, expected: Array, relative: float, *, largest: float = 0.0) -> Comparison:
    """Compare an array with the reference's.

    Args:
        got: of any type; NaN and infinities agree with the same alone.
        expected: integers and booleans agree exactly.
        relative: limit of a distance, over the largest magnitude of both.
        largest: magnitude of what the array was made from, where that counts too.
    """
    if got.shape != expected.shape:
        return _unlike("shape", got, expected)
    if _kind(got) != _kind(expected):
        return _unlike("type", got, expected)
    near, exact = got.astype(np.float64), expected.astype(np.float64)
    distance, limit = _distance(near, exact), 0.0
    if is_floating(got):
        tiny = max(SMALLEST_NORMAL[str(each.dtype)] for each in (got, expected))
        limit = relative * max(largest_of([near, exact]), largest, tiny)
    beyond = distance > limit
    if not beyond.any():
        share = float(distance.max(initial=0.0)) / limit if limit else 0.0
        return Comparison(None, share, limit)
    place = tuple(map(int, np.unravel_index(int(distance.argmax()), distance.shape)))
    worst, scale = float(distance[place]), largest_of([exact])
    mismatch = Mismatch(
        kind="value",
        place=place,
        got=got[place].item() if got.dtype.kind in "iub" else float(near[place]),
        expected=expected[place].item() if got.dtype.kind in "iub" else float(exact[place]),
        absolute=worst,
        relative=worst / scale if scale else np.inf,
        limit=limit,
        count=int(beyond.sum()),
        size=distance.size,
    )
    return Comparison(mismatch, np.inf, limit)


def largest_of(arrays: Iterable[Array]) -> float:
    """Largest finite magnitude of floating arrays."""
    wide = (array.astype(np.float64) for array in arrays if is_floating(array))
    return max((float(np.abs(a[np.isfinite(a)]).max(initial=0.0)) for a in wide), default=0.0)


def epsilon_of(arrays: Iterable[Array]) -> float:
    """Of the coarsest floating type."""
    types = {str(array.dtype) for array in arrays if is_floating(array)}
    return max((EPSILON[name] for name in types), default=0.0)


def _distance(near: Floats, exact: Floats) -> Floats:
    """|near - exact|: 0 where both are the same, NaN too, and infinite where one is not finite."""
    with np.errstate(invalid="ignore", over="ignore"):
        distance = np.abs(near - exact)
        same = (near == exact) | (np.isnan(near) & np.isnan(exact))
    return np.where(same, 0.0, np.where(np.isnan(distance), np.inf, distance))


def is_floating(array: Array) -> bool:
    """Whether it is of a floating type, bfloat16 too."""
    return _kind(array) == "floating"


def _kind(array: Array) -> str:
    match array.dtype.kind:
        case "b":
            return "boolean"
        case "i" | "u":
            return "integer"
        case _:
            return "floating"


def _unlike(kind: str, got: Array, expected: Array) -> Comparison:
    said, other = (f"{array.dtype} {list(array.shape)}" for array in (got, expected))
    size, infinite = got.size, np.inf
    mismatch = Mismatch(kind, (), said, other, infinite, infinite, 0.0, count=size, size=size)
    return Comparison(mismatch, infinite, 0.0)
