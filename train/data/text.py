"""The bytes of a file, cut in windows."""

from pathlib import Path

import numpy as np

from ancestral.dataspec import DataSpec
from ancestral.errors import InvalidInput
from ancestral.files.input_file import LARGEST_FILE, read_bounded
from ancestral.train.data.dataset import Dataset, Split, cut


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
