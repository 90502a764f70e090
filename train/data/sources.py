"""Sources of data: scikit-learn's digits, arrays of one's own, the bytes of a text."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ancestral.arrays import shown
from ancestral.dataspec import DataSpec, explained
from ancestral.errors import InvalidInput
from ancestral.files.array_file import LARGEST_ARRAY, ArrayFile
from ancestral.files.input_file import LARGEST_FILE, read_bounded
from ancestral.train.data.dataset import PARTS, Dataset, Split, cut, fractional_split, random_split

SPEC = DataSpec(name="digits", event_shape=(8, 8), levels=17, num_classes=10)
COUNT, TEST, VALIDATION = 1797, 360, 144


def load_digits(split: Split | None = None) -> Dataset:
    """The digits, cut by numpy.random.default_rng(0).permutation(1797).

    Its first 360 indices are the test part, the next 144 validation, the last 1,293 training.

    Args:
        split: another cut, that of a checkpoint say.

    Raises:
        ImportError: scikit-learn is not installed.
        InvalidInput: the split is not one of 1,797 events.
    """
    from sklearn import datasets

    bunch = datasets.load_digits()
    if split is None:
        split = random_split(COUNT, test=TEST, validation=VALIDATION, seed=0)
    x = bunch.images.reshape(COUNT, -1).astype(np.int64)
    return cut(SPEC, x, bunch.target.astype(np.int64), split)


def load_npz(
    path: str | Path,
    *,
    levels: int | None = None,
    num_classes: int | None = None,
    split: Split | None = None,
    limit: int = LARGEST_ARRAY,
) -> Dataset:
    """Events of any shape from the arrays x and y, integers from 0 on.

    Args:
        path: of the .npz file; nothing in it is unpickled, and no other array is read.
        levels: number of values; None is one more than the largest in x.
        num_classes: number of classes; None is one more than the largest in y.
        split: which event is in which part; None cuts as the file's own indices say, or by
            `fractional_split` where it has none.
        limit: bytes that an array in the file may have at most.

    Raises:
        InvalidInput: the file or an array is missing, damaged, of the wrong type or shape, too
            large, or out of range.
    """
    path = Path(path)
    arrays = ArrayFile.open(path, limit=limit)
    if not arrays.named:
        raise InvalidInput(
            f"{path}: expected an .npz with an array x of events, got an .npy, one array without a "
            f"name: save it by numpy.savez('{path.stem}.npz', x=...)"
        )
    if "x" not in arrays:
        raise InvalidInput(
            f"{path}: expected an array x of events, got arrays {shown(sorted(arrays))}: save it "
            f"by numpy.savez('{path.name}', x=...)"
        )
    x = _integers(path, "x", arrays["x"])
    if x.ndim < 2:
        raise InvalidInput(f"{path}: expected x of shape [n, ...], got {list(x.shape)}")
    label = _integers(path, "y", arrays["y"]) if "y" in arrays else None
    if label is None and num_classes is not None:
        raise InvalidInput(f"{path}: num_classes is {num_classes}, but there is no array y")
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
    """The split that the file has, or that of n events where it has none."""
    found = [name for name in PARTS if name in arrays]
    if not found:
        return fractional_split(n)
    if len(found) < len(PARTS):
        raise InvalidInput(
            f"{path}: expected the indices of all parts, {', '.join(PARTS)}, or of none, "
            f"got {', '.join(found)}"
        )
    parts = [_integers(path, name, arrays[name]) for name in PARTS]
    if any(part.ndim != 1 for part in parts):
        raise InvalidInput(f"{path}: expected {', '.join(PARTS)} of shape [n]")
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


def load_text(
    path: str | Path,
    *,
    length: int = 256,
    split: Split | None = None,
    limit: int = LARGEST_FILE,
) -> Dataset:
    """Windows of `length` bytes, side by side; a last one that is too short is left out.

    The cut is along the file, so that no part sees the neighbourhood of another: the first 90% of
    the windows are for training, 5% for validation, the last 5% for test, at least one each.

    Args:
        path: of the file, in whatever encoding: a value is a byte.
        length: of a window, in bytes.
        split: another cut, that of a checkpoint say.
        limit: bytes that the file may have at most; training takes ten times as many.

    Raises:
        InvalidInput: the file is not a regular one, cannot be read, is larger, or holds fewer than
            three windows.
    """
    path = Path(path)
    if length < 1:
        raise InvalidInput(f"length: expected at least 1 byte, got {length}")
    try:
        values = np.frombuffer(read_bounded(path, limit), np.uint8)
    except OSError as error:
        raise InvalidInput(f"{path}: expected a file of text, got: {error}") from error
    n = len(values) // length
    if n < 3:
        raise InvalidInput(
            f"{path}: expected at least 3 windows of {length} bytes, got {len(values)} bytes; "
            f"give a longer file or a smaller length"
        )
    if split is None:
        held = max(1, n // 20)
        index = np.arange(n, dtype=np.int64)
        split = Split(index[: n - 2 * held], index[n - 2 * held : n - held], index[n - held :])
    spec = DataSpec(name=path.stem, event_shape=(length,), levels=256, tokenizer="bytes")
    return cut(spec, values[: n * length].reshape(n, length).astype(np.int64), None, split)
