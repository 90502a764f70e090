"""What a table knows of a pixel's neighbours: the cell that their levels fall into."""

from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from ancestral.dataspec import DataSpec

_GROUPS = 4
"""Groups of levels that a neighbour may be in."""
_PREDICTIONS = 32
"""Most groups of levels that a prediction may be in."""


@runtime_checkable
class Neighbourhood(Protocol):
    """Cells of the levels to the left, above, and above to the left of a pixel.

    Attributes:
        cells: number of cells.
        missing: level of a neighbour that does not exist.
    """

    cells: int
    missing: int

    def cell(self, left: int, above: int, corner: int) -> int:
        """Return the cell of three levels."""

    def all_cells(
        self, left: NDArray[np.int64], above: NDArray[np.int64], corner: NDArray[np.int64]
    ) -> NDArray[np.int64]:
        """Return the cell of each three levels, [n, t]."""


class Groups:
    """The groups of the left and of the upper level: for few pixels, or few levels."""

    cells = (_GROUPS + 1) ** 2

    def __init__(self, levels: int) -> None:
        self.missing = levels
        self._group = np.append(np.arange(levels) * _GROUPS // levels, _GROUPS)
        self._groups: list[int] = self._group.tolist()

    def cell(self, left: int, above: int, corner: int) -> int:
        return self._groups[left] * (_GROUPS + 1) + self._groups[above]

    def all_cells(
        self, left: NDArray[np.int64], above: NDArray[np.int64], corner: NDArray[np.int64]
    ) -> NDArray[np.int64]:
        found: NDArray[np.int64] = self._group[left] * (_GROUPS + 1) + self._group[above]
        return found


class Gradient:
    """The median of left, above, and left + above - corner: for smooth images.

    Which of the first two is larger is part of the cell.

    References:
        Weinberger, Seroussi & Sapiro (2000), The LOCO-I Lossless Image Compression Algorithm.
    """

    missing = 0

    def __init__(self, levels: int) -> None:
        self._levels, self._groups = levels, min(levels, _PREDICTIONS)
        self.cells = 3 * self._groups

    def cell(self, left: int, above: int, corner: int) -> int:
        low, high = (left, above) if left < above else (above, left)
        predicted = min(max(left + above - corner, low), high)
        order = (left > above) - (left < above) + 1
        return 3 * (predicted * self._groups // self._levels) + order

    def all_cells(
        self, left: NDArray[np.int64], above: NDArray[np.int64], corner: NDArray[np.int64]
    ) -> NDArray[np.int64]:
        low, high = np.minimum(left, above), np.maximum(left, above)
        predicted = (left + above - corner).clip(low, high)
        order = np.sign(left - above) + 1
        found: NDArray[np.int64] = 3 * (predicted * self._groups // self._levels) + order
        return found


def steps_back(data: DataSpec) -> NDArray[np.int64]:
    """Return how many positions back the neighbours of each pixel are, [t, 3].

    They are those to the left, above, and above to the left. 0 stands for a neighbour that does not
    exist, or comes later in the order.
    """
    t, sites = data.length, np.arange(data.length).reshape(data.event_shape)
    left, above, corner = (np.full_like(sites, t) for _ in range(3))
    left[..., 1:], above[..., 1:, :] = sites[..., :-1], sites[..., :-1, :]
    corner[..., 1:, 1:] = sites[..., :-1, :-1]
    # The position of each site; t for a neighbour that does not exist.
    position = np.append(np.argsort(data.order), t)
    found = np.stack([position[each.reshape(t)[data.order]] for each in (left, above, corner)], 1)
    back: NDArray[np.int64] = np.maximum(np.arange(t)[:, None] - found, 0)
    return back
