"""Custom arrays: an .npz file with x [n, ...] and, for data with labels, y [n].

If the file has arrays train, validation and test, they are the indices of the three parts.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ancestral.arrays import shown
from ancestral.dataspec import DataSpec, explained
from ancestral.errors import InvalidInput
from ancestral.files.array_file import LARGEST_ARRAY, ArrayFile
from ancestral.train.data.dataset import PARTS, Dataset, Split, cut, fractional_split


def load_npz(
    path: str | Path,
    *,
    levels: int | None = None,
    num_classes: int | None = None,
    split: Split | None = None,
    limit: int = LARGEST_ARRAY,
) -> Dataset:
    """Load events of any shape from the arrays x and y of integers >= 0.

    Args:
        path: path of the .npz file; nothing in it is unpickled, and no other array is read.
        levels: number of levels; None means one more than the largest value in x.
        num_classes: number of classes; None means one more than the largest value in y.
        split: split of the events; None uses the indices in the file, or `fractional_split` if it
            has none.
        limit: largest size of an array in the file, in bytes.

    Raises:
        InvalidInput: the file or an array is missing, damaged, of the wrong type or shape, too
            large, or out of range.
    """
    path = Path(path)
    arrays = ArrayFile.open(path, limit=limit)
    if not arrays.named:
        raise InvalidInput(
            f"{path}: expected an .npz with an array x of events, got an .npy, one array without a "
            f"name; save it with numpy.savez('{path.stem}.npz', x=...)"
        )
    if "x" not in arrays:
        raise InvalidInput(
            f"{path}: expected an array x of events, got arrays {shown(sorted(arrays))}; save it "
            f"with numpy.savez('{path.name}', x=...)"
        )
    x = _integers(path, "x", arrays["x"])
    if x.ndim < 2:
        raise InvalidInput(f"{path}: expected x of shape [n, ...], got {list(x.shape)}")
    label = _integers(path, "y", arrays["y"]) if "y" in arrays else None
    if label is None and num_classes is not None:
        raise InvalidInput(
            f"{path}: no array y for num_classes {num_classes}; save the labels as y, or leave "
            f"num_classes out"
        )
    if label is not None and num_classes is None:
        num_classes = int(label.max()) + 1
    with explained(path):
        spec = DataSpec(
            name=path.stem,
            event_shape=tuple(x.shape[1:]),
            levels=int(x.max()) + 1 if levels is None else levels,
            num_classes=num_classes,
        )
    if split is None:
        split = _own_split(path, arrays, len(x))
    return cut(spec, x.reshape(len(x), -1), label, split)


def _own_split(path: Path, arrays: Mapping[str, NDArray[np.generic]], n: int) -> Split:
    """Return the split that the file has; otherwise `fractional_split`."""
    found = [name for name in PARTS if name in arrays]
    if not found:
        return fractional_split(n)
    if len(found) < len(PARTS):
        raise InvalidInput(
            f"{path}: expected the indices of all parts, {', '.join(PARTS)}, or of no part, got "
            f"{', '.join(found)}"
        )
    parts = [_integers(path, name, arrays[name]) for name in PARTS]
    if any(part.ndim != 1 for part in parts):
        raise InvalidInput(
            f"{path}: expected {', '.join(PARTS)} of shape [n], got shapes "
            f"{[list(part.shape) for part in parts]}"
        )
    try:
        return Split(*parts)
    except InvalidInput as error:
        raise InvalidInput(f"{path}: {error}") from error


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
