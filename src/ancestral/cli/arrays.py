"""Arrays in .npy and .npz files that users pass to commands, or get from them."""

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ancestral.arrays import shown
from ancestral.errors import InvalidInput
from ancestral.files.array_file import ArrayFile
from ancestral.files.atomic import write_atomically


def pick(arrays: ArrayFile, *names: str) -> NDArray[Any]:
    """The first of the named arrays, or the only one there is.

    Raises:
        InvalidInput: none of the names is there, and there is not just one array; or the array
            cannot be read.
    """
    for name in (*names, *(arrays if len(arrays) == 1 else ())):
        if name in arrays:
            return arrays[name]
    raise InvalidInput(
        f"{arrays.path}: expected an array {' or '.join(names)}, got {shown(sorted(arrays))}"
    )


def write_arrays(out: str | Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write an .npz file.

    Raises:
        OSError: it could not be written; an old file of that name is whole.
    """
    content = io.BytesIO()
    np.savez_compressed(content, allow_pickle=False, **arrays)
    write_atomically(out, content.getvalue())
