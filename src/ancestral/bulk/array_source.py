"""Events in .npz, .npy and IDX files, which are read whole."""

import gzip
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ancestral.arrays import integers
from ancestral.bulk.rows import Rows, check_finite
from ancestral.errors import InvalidInput
from ancestral.files.array_file import ArrayFile
from ancestral.files.input_file import open_regular, unreadable
from ancestral.train.data.idx import read_idx

_IDX = b"\0\0\x08"
_GZIP = b"\x1f\x8b"


@dataclass(frozen=True, slots=True)
class ArraySource:
    """Events of one file, in memory.

    Attributes:
        x: events, [n, ...].
        labels: label of each event, [n]; None if the file has no labels.
    """

    x: NDArray[Any]
    labels: NDArray[np.int64] | None

    @property
    def count(self) -> int:
        """Number of events."""
        return len(self.x)

    def read(self, first: int, end: int) -> Rows:
        """Return the events first .. end - 1."""
        return Rows(self.x, self.labels).part(first, end)


def open_arrays(path: Path) -> ArraySource:
    """Read a file of arrays: an .npz with x and perhaps y (or labels), an .npy, or an IDX file.

    Raises:
        InvalidInput: the file does not exist, is of another kind, lacks the array x or has NaN in
            it, or its labels are not one for each event.
    """
    axes = axes_of_idx(path)
    if axes is not None:
        return ArraySource(read_idx(path, axes=axes), None)
    arrays = ArrayFile.open(path)
    x = arrays.pick("x")
    if x.ndim < 1:
        raise InvalidInput(f"{path}: x: expected an array [n, ...], got a single number")
    check_finite(x, str(path))
    found = arrays.get("y", arrays.get("labels")) if arrays.named else None
    if found is None:
        return ArraySource(x, None)
    labels = integers(f"{path}: labels", found)
    if labels.shape != (len(x),):
        raise InvalidInput(
            f"{path}: expected one label for each of {len(x)} events, got shape {labels.shape}"
        )
    return ArraySource(x, labels)


def axes_of_idx(path: Path) -> int | None:
    """Return the number of axes of an IDX file, plain or packed; None for any other file.

    Raises:
        InvalidInput: the file cannot be read.
    """
    try:
        with open_regular(path) as file:
            start = file.read(4)
            if start.startswith(_GZIP):
                file.seek(0)
                with gzip.GzipFile(fileobj=file) as stream:
                    start = stream.read(4)
    except OSError as error:
        raise InvalidInput(unreadable(path, error)) from error
    except EOFError:
        return None
    return start[3] if start.startswith(_IDX) and len(start) == 4 else None
