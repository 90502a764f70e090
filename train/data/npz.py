"""Arrays of one's own: an .npz file with x [n, ...] and, where there are labels, y [n]."""

import zipfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ancestral.arrays import NOT_ARRAYS
from ancestral.dataspec import DataSpec
from ancestral.errors import InvalidInput
from ancestral.train.data.dataset import Dataset, Split, cut, fractional_split


def load_npz(
    path: str | Path,
    *,
    levels: int | None = None,
    num_classes: int | None = None,
    split: Split | None = None,
) -> Dataset:
    """Events of any shape from the arrays x and y, integers from 0 on.

    Args:
        path: of the .npz file; nothing in it is unpickled.
        levels: number of values; None is one more than the largest in x.
        num_classes: number of classes; None is one more than the largest in y.
        split: which event is in which part; None cuts by `fractional_split`.

    Raises:
        InvalidInput: the file or an array is missing, of the wrong type or shape, or out of range.
    """
    path = Path(path)
    if not zipfile.is_zipfile(path):
        raise InvalidInput(f"{path}: expected an .npz of plain arrays, got no such file or another")
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files if name in ("x", "y")}
            names = archive.files
    except NOT_ARRAYS as error:
        raise InvalidInput(f"{path}: expected an .npz of plain arrays, got: {error}") from error
    if "x" not in arrays:
        raise InvalidInput(f"{path}: expected an array x of events, got arrays {names}")
    x = _integers(path, "x", arrays["x"])
    if x.ndim < 2:
        raise InvalidInput(f"{path}: expected x of shape [n, ...], got {list(x.shape)}")
    label = _integers(path, "y", arrays["y"]) if "y" in arrays else None
    if label is None and num_classes is not None:
        raise InvalidInput(f"{path}: num_classes is {num_classes}, but there is no array y")
    if label is not None and num_classes is None:
        num_classes = int(label.max()) + 1
    spec = DataSpec(
        name=path.stem,
        event_shape=tuple(x.shape[1:]),
        levels=int(x.max()) + 1 if levels is None else levels,
        num_classes=num_classes,
    )
    if split is None:
        split = fractional_split(len(x))
    return cut(spec, x.reshape(len(x), -1), label, split)


def _integers(path: Path, name: str, values: NDArray[np.generic]) -> NDArray[np.int64]:
    if values.dtype.kind not in "iub":
        raise InvalidInput(
            f"{path}: expected integers in {name}, got {values.dtype}; levels are 0, 1, 2, ..."
        )
    if values.size == 0:
        raise InvalidInput(f"{path}: expected values in {name}, got shape {list(values.shape)}")
    wide = values.astype(np.int64)
    if int(wide.min()) < 0:
        raise InvalidInput(f"{path}: expected {name} >= 0, got {int(wide.min())}")
    return wide
