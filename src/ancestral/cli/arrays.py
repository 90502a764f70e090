"""Arrays in .npy and .npz files, as users hand them over or take them; none is unpickled."""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ancestral.arrays import NOT_ARRAYS
from ancestral.errors import InvalidInput
from ancestral.files import write_atomically

ALONE = ""
"""Name of the array of an .npy file."""


def read_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """The arrays of an .npz by name; that of an .npy under the name ALONE.

    Raises:
        InvalidInput: no such file, truncated, or not of plain arrays.
    """
    try:
        with path.open("rb") as file:
            content = np.load(file, allow_pickle=False)
            if isinstance(content, np.ndarray):
                return {ALONE: content}
            return {name: content[name] for name in content.files}
    except NOT_ARRAYS as error:
        raise InvalidInput(f"{path}: expected an .npy or .npz of numbers, got: {error}") from error


def pick(path: Path, arrays: dict[str, NDArray[Any]], names: Sequence[str]) -> NDArray[Any]:
    """The first of the named arrays, or the only one there is.

    Raises:
        InvalidInput: none of the names is there, and there is not just one array.
    """
    for name in names:
        if name in arrays:
            return arrays[name]
    if len(arrays) == 1:
        return next(iter(arrays.values()))
    raise InvalidInput(f"{path}: expected an array {' or '.join(names)}, got {sorted(arrays)}")


def npz(arrays: Mapping[str, NDArray[Any]]) -> bytes:
    """The content of an .npz file."""
    content = io.BytesIO()
    np.savez_compressed(content, allow_pickle=False, **arrays)
    return content.getvalue()


def write_arrays(out: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write an .npz file.

    Raises:
        OSError: it could not be written; an old file of that name is whole.
    """
    write_atomically(out, npz(arrays))
