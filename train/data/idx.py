"""MNIST and other images with labels in its file format, IDX, plain or .gz.

References:
    LeCun, Cortes, Burges, The MNIST database of handwritten digits: the file formats.
"""

import gzip
import math
import os
import zlib
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from ancestral.dataspec import DataSpec, explained
from ancestral.errors import InvalidInput
from ancestral.files.array_file import LARGEST_ARRAY, check_unpacked
from ancestral.files.input_file import Stream, fill, open_regular, size_text
from ancestral.files.kind import FIRST_BYTES, kind_of
from ancestral.train.data.dataset import Dataset, Split, cut

_UNSIGNED_BYTE = 8
_MOST_HELD_BACK = 5000
_GZIP = b"\x1f\x8b"


def load_idx(
    folder: str | Path,
    *,
    levels: int = 256,
    validation: int | None = None,
    split: Split | None = None,
) -> Dataset:
    """Load the four files of MNIST: {train, t10k}-{images-idx3, labels-idx1}-ubyte.

    Events are numbered through both files, training first. The t10k files are the test part. The
    validation part is the first indices of numpy.random.default_rng(0).permutation(n_train).

    Args:
        folder: folder of the files, each plain or .gz.
        levels: number of levels, 2 .. 256; a grey value g in 0 .. 255 becomes floor(g levels /
            256).
        validation: number of training events held back for validation; None means a twelfth of
            them, at most 5,000, as is usual for MNIST.
        split: another split, for example that of a checkpoint.

    Raises:
        InvalidInput: a file is missing, truncated, not IDX, or does not fit the others.
    """
    if not 2 <= levels <= 256:
        raise InvalidInput(f"levels: expected 2 .. 256, got {levels}")
    folder = Path(folder)
    images, labels = [], []
    for part in ("train", "t10k"):
        images.append(read_idx(_find(folder, f"{part}-images-idx3-ubyte"), axes=3))
        labels.append(read_idx(_find(folder, f"{part}-labels-idx1-ubyte"), axes=1))
        if len(images[-1]) != len(labels[-1]):
            raise InvalidInput(
                f"{folder}: expected a label for each image of {part}, "
                f"got {len(images[-1])} images and {len(labels[-1])} labels"
            )
    if images[0].shape[1:] != images[1].shape[1:]:
        raise InvalidInput(
            f"{folder}: expected train and t10k images of one size, "
            f"got {images[0].shape[1:]} and {images[1].shape[1:]}"
        )
    x, label = (np.concatenate(parts).astype(np.int64) for parts in (images, labels))
    n = len(images[0])
    if split is None:
        if validation is None:
            validation = min(_MOST_HELD_BACK, max(1, n // 12))
        if not 0 < validation < n:
            raise InvalidInput(f"validation: expected 1 .. {n - 1} of {n} events, got {validation}")
        order = np.random.default_rng(0).permutation(n).astype(np.int64)
        split = Split(order[validation:], order[:validation], np.arange(n, len(x), dtype=np.int64))
    with explained(folder):
        spec = DataSpec(
            name=folder.resolve().name,
            event_shape=tuple(x.shape[1:]),
            levels=levels,
            num_classes=int(label.max()) + 1,
        )
    return cut(spec, x.reshape(len(x), -1) * levels // 256, label, split)


def read_idx(
    path: str | Path, *, axes: int, limit: int = LARGEST_ARRAY
) -> UInt8[np.ndarray, "..."]:
    """Read an IDX file of unsigned bytes: 0, 0, 8, number of axes, big-endian sizes, then the data.

    Args:
        path: path of the file; a gzip file, whatever its name, is decompressed up to the size in
            its header.
        axes: number of axes that the array must have.
        limit: largest size of the array, in bytes.

    Raises:
        InvalidInput: the file is not a regular file, cannot be read, is truncated, too long or too
            large, or is not an IDX file with these axes.
    """
    path = Path(path)
    try:
        with open_regular(path) as file:
            size = os.fstat(file.fileno()).st_size
            packed = file.read(2) == _GZIP
            file.seek(0)
            if not packed:
                return _read(file, path, axes, limit, size)
            with gzip.GzipFile(fileobj=file) as stream:
                return _read(stream, path, axes, limit, None, size)
    except InvalidInput:
        raise
    except (OSError, EOFError, MemoryError, zlib.error) as error:
        raise InvalidInput(
            f"{path}: cannot be read as an IDX file ({error}); check its permissions, or download "
            f"it again"
        ) from error


def _read(
    stream: Stream, path: Path, axes: int, limit: int, size: int | None, packed: int = 0
) -> UInt8[np.ndarray, "..."]:
    """Read an array from an IDX stream of `size` bytes, or compressed to `packed` bytes."""
    start = stream.read(FIRST_BYTES)
    magic = bytes([0, 0, _UNSIGNED_BYTE, axes])
    if start[:4] != magic:
        is_idx = len(start) > 3 and start[:3] == magic[:3]
        what = f"one with {start[3]} axes" if is_idx else kind_of(start)
        got = f"{start[:4].hex()}, {what}" if start else what
        raise InvalidInput(
            f"{path}: expected an IDX file of bytes with {axes} axes (magic number {magic.hex()}), "
            f"got {got}"
        )
    first = 4 + 4 * axes
    if len(start) < first:
        raise InvalidInput(f"{path}: expected a header of {first} bytes, got {len(start)} in all")
    shape = tuple(int(each) for each in np.frombuffer(start[4:first], ">u4"))
    length = math.prod(shape)
    if length > limit:
        raise InvalidInput(
            f"{path}: expected at most {size_text(limit)}, got a header of shape {shape}, "
            f"{size_text(length)}; in Python, pass a larger `limit` to read_idx"
        )
    if size is None:
        check_unpacked(str(path), packed, length)
    elif size != first + length:
        raise _wrong_size(path, shape, first + length, f"{size}")
    values = np.empty(length, np.uint8)
    begun = min(length, len(start) - first)
    values[:begun] = np.frombuffer(start, np.uint8, begun, first)
    done = begun + fill(stream, values[begun:])
    if done < length:
        raise _wrong_size(path, shape, first + length, f"{first + done}")
    if len(start) > first + length or stream.read(1):
        raise _wrong_size(path, shape, first + length, "more")
    if 0 in shape:
        raise InvalidInput(f"{path}: expected at least one value, got shape {shape}")
    return values.reshape(shape)


def _wrong_size(path: Path, shape: tuple[int, ...], wanted: int, got: str) -> InvalidInput:
    return InvalidInput(
        f"{path}: expected {wanted} bytes for shape {shape}, got {got}; the file is truncated or "
        f"has another file's header"
    )


def _find(folder: Path, name: str) -> Path:
    # Some archives spell train-images-idx3-ubyte as train-images.idx3-ubyte.
    dotted = name.replace("-idx", ".idx")
    for candidate in (name, f"{name}.gz", dotted, f"{dotted}.gz"):
        if (folder / candidate).is_file():
            return folder / candidate
    raise InvalidInput(
        f"{folder}: no file {name} or {name}.gz; pass the folder with the four IDX files"
    )
