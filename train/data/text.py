"""Text as bytes: a file cut into windows."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ancestral.dataspec import DataSpec
from ancestral.errors import InvalidInput
from ancestral.files.input_file import LARGEST_FILE, read_bounded, unreadable
from ancestral.train.data.dataset import Dataset, Split, cut


def load_text(
    path: str | Path,
    *,
    length: int = 256,
    split: Split | None = None,
    limit: int = LARGEST_FILE,
) -> Dataset:
    """Load the bytes of a file, in consecutive windows; a shorter last window is left out.

    Each part is one stretch of the file, so that no test window is between training windows: the
    first 90% of the windows are for training, the next 5% for validation, the last 5% for test,
    with at least one window each.

    Args:
        path: path of the file, in any encoding; each value is a byte.
        length: length of a window, in bytes.
        split: another split, for example that of a checkpoint.
        limit: largest size of the file, in bytes; training needs ten times as much memory.

    Raises:
        InvalidInput: the file is not a regular file, cannot be read, is too large, or holds fewer
            than three windows.
    """
    path = Path(path)
    if length < 1:
        raise InvalidInput(f"length: expected at least 1 byte, got {length}")
    try:
        values = np.frombuffer(read_bounded(path, limit), np.uint8)
    except OSError as error:
        raise InvalidInput(unreadable(path, error)) from error
    x = windows(values, length)
    n = len(x)
    if n < 3:
        raise InvalidInput(
            f"{path}: expected at least 3 windows of {length} bytes, got {len(values)} bytes; pass "
            f"a longer file or a smaller length"
        )
    if split is None:
        held = max(1, n // 20)
        index = np.arange(n, dtype=np.int64)
        split = Split(index[: n - 2 * held], index[n - 2 * held : n - held], index[n - held :])
    spec = DataSpec(name=path.stem, event_shape=(length,), levels=256, tokenizer="bytes")
    return cut(spec, x, None, split)


def windows(values: NDArray[np.uint8], length: int) -> NDArray[np.int64]:
    """Return bytes in consecutive windows, [n, length]; a shorter last window is left out."""
    count = len(values) // length
    return values[: count * length].reshape(count, length).astype(np.int64)
