"""Arrays in .npy and .npz files that users pass to commands, or get from them."""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ancestral.arrays import shown
from ancestral.errors import InvalidInput
from ancestral.files.array_file import ArrayFile
from ancestral.files.atomic import write_atomically


def read_arrays(path: Path) -> ArrayFile:
    """The arrays of an .npy or .npz, each of which is unpacked when it is looked up.

    Raises:
        InvalidInput: no such file, not a regular one, or of another kind.
    """
    return ArrayFile.open(path)


def pick(path: Path, arrays: Mapping[str, NDArray[Any]], names: Sequence[str]) -> NDArray[Any]:
    """The first of the named arrays, or the only one there is.

    Raises:
        InvalidInput: none of the names is there, and there is not just one array; or the array
            cannot be read.
    """
    for name in names:
        if name in arrays:
            return arrays[name]
    if len(arrays) == 1:
        return next(iter(arrays.values()))
    raise InvalidInput(
        f"{path}: expected an array {' or '.join(names)}, got {shown(sorted(arrays))}"
    )


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
