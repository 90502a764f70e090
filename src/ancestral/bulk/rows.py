"""Consecutive rows of data, and the interface to the files that have them."""

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Values = NDArray[Any] | list[str]
"""Events [n, ...], or n texts."""


@dataclass(frozen=True, slots=True)
class Rows:
    """Consecutive rows of data.

    Attributes:
        values: events [n, ...], or n texts.
        labels: label of each row, [n]; None if the data have no labels.
    """

    values: Values
    labels: NDArray[np.int64] | None

    def __len__(self) -> int:
        return len(self.values)

    def part(self, first: int, end: int) -> "Rows":
        """Return some of the rows."""
        labels = None if self.labels is None else self.labels[first:end]
        return Rows(self.values[first:end], labels)


class Source(Protocol):
    """The rows of one file."""

    @property
    def count(self) -> int:
        """Number of rows."""

    def read(self, first: int, end: int) -> Rows:
        """Return the rows first .. end - 1."""
