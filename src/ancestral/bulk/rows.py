"""Consecutive rows of data, and the interface to the files that have them."""

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ancestral.errors import InvalidInput

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


def check_finite(values: NDArray[Any], place: str, first: int = 0) -> None:
    """Check that no value of some rows is NaN or infinite.

    Args:
        values: events, [n, ...].
        place: the file for messages.
        first: row of the first event in the file.

    Raises:
        InvalidInput: a value is; the message names the file and the row.
    """
    if values.dtype.kind != "f" or np.isfinite(values).all():
        return
    finite = np.isfinite(values).reshape(len(values), -1)
    row = int(finite.all(axis=1).argmin())
    value = values.reshape(len(values), -1)[row, finite[row].argmin()]
    raise InvalidInput(f"{place}: row {first + row}: x: expected finite numbers, got {value}")


class Source(Protocol):
    """The rows of one file."""

    @property
    def count(self) -> int:
        """Number of rows."""

    def read(self, first: int, end: int) -> Rows:
        """Return the rows first .. end - 1."""
