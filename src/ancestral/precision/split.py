"""Data in two halves: a plan is chosen on calibration data, and measured on held-out data.

A plan that was chosen on some data loses less on them than on others. The rule is fixed, so that
the same file always has the same halves. Events alternate, because a file may be sorted by class.
Windows of text are not mixed, because neighbours are alike: the first half of the file calibrates.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Int64
from numpy.typing import NDArray

from ancestral.bundles.cost import Unit
from ancestral.errors import InvalidInput

LEAST = 4
"""Smallest number of units: a standard error needs two in each half."""


@dataclass(frozen=True, slots=True)
class Data:
    """Data as `engine.losses.compare` takes them.

    Attributes:
        x: events [n, ...], or windows of ids [n, t].
        lengths: number of ids of each window, [n]; None for whole events.
        labels: class of all events, or of each, [n]; None without labels.
        name: name of the data.
        sha256: hash of their file; None if they are not from a file.
    """

    x: NDArray[Any]
    lengths: NDArray[np.int64] | None = None
    labels: int | NDArray[Any] | None = None
    name: str = "data"
    sha256: str | None = None

    def part(self, at: Int64[np.ndarray, " m"]) -> "Data":
        """Return the units at some indices."""
        lengths = None if self.lengths is None else self.lengths[at]
        labels = self.labels[at] if isinstance(self.labels, np.ndarray) else self.labels
        return Data(self.x[at], lengths, labels, self.name, self.sha256)


def halves(n: int, unit: Unit) -> tuple[Int64[np.ndarray, " c"], Int64[np.ndarray, " h"]]:
    """Return the indices of the units of calibration, and of those held out.

    >>> [half.tolist() for half in halves(5, "events")]
    [[0, 2, 4], [1, 3]]
    >>> [half.tolist() for half in halves(5, "windows")]
    [[0, 1, 2], [3, 4]]

    Args:
        n: number of units.
        unit: whether they are events or windows.

    Raises:
        InvalidInput: there are fewer than 4 units.
    """
    if n < LEAST:
        raise InvalidInput(
            f"data: expected at least {LEAST} {unit}, two to choose by and two to measure on, got "
            f"{n}; pass more data"
        )
    at = np.arange(n)
    if unit == "events":
        return at[::2], at[1::2]
    middle = -(-n // 2)
    return at[:middle], at[middle:]
