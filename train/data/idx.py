"""MNIST's own files, and any of their form: images and labels in IDX, plain or .gz.

References:
    LeCun, Cortes, Burges, The MNIST database of handwritten digits: the file formats.
"""

import gzip
import math
import zlib
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from ancestral.dataspec import DataSpec
from ancestral.errors import InvalidInput
from ancestral.train.data.dataset import Dataset, Split, cut

_UNSIGNED_BYTE = 8


def load_idx(
    folder: str | Path, *, levels: int = 256, validation: int = 5000, split: Split | None = None
) -> Dataset:
    """The four files of MNIST: train-... and t10k-..., images-idx3-ubyte and labels-idx1-ubyte.

    Events are numbered through both files, training first. The t10k files are the test part;
    validation is the first indices of numpy.random.default_rng(0).permutation(n_train).

    Args:
        folder: that holds them, each plain or .gz.
        levels: grey values g in 0 .. 255 become floor(g levels / 256).
        validation: number of training events that are held back to choose on.
        split: another cut, that of a checkpoint say.

    Raises:
        InvalidInput: a file is missing, truncated, of another form, or does not fit the others.
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
        if not 0 < validation < n:
            raise InvalidInput(f"validation: expected 1 .. {n - 1} of {n} events, got {validation}")
        order = np.random.default_rng(0).permutation(n).astype(np.int64)
        split = Split(order[validation:], order[:validation], np.arange(n, len(x), dtype=np.int64))
    spec = DataSpec(
        name=folder.resolve().name,
        event_shape=tuple(x.shape[1:]),
        levels=levels,
        num_classes=int(label.max()) + 1,
    )
    return cut(spec, x.reshape(len(x), -1) * levels // 256, label, split)


def read_idx(path: str | Path, *, axes: int) -> UInt8[np.ndarray, "..."]:
    """An IDX file of unsigned bytes: 0, 0, 8, number of axes, big-endian sizes, then the data.

    Args:
        path: a name that ends in .gz is decompressed.
        axes: how many the file must have.

    Raises:
        InvalidInput: the file cannot be read, is truncated or too long, or is no such IDX file.
    """
    path = Path(path)
    try:
        data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError, zlib.error) as error:
        raise InvalidInput(f"{path}: expected an IDX file, got: {error}") from error
    start = 4 + 4 * axes
    magic = bytes([0, 0, _UNSIGNED_BYTE, axes])
    if data[:4] != magic:
        raise InvalidInput(
            f"{path}: expected an IDX file of bytes with {axes} axes (magic number {magic.hex()}), "
            f"got {data[:4].hex() or 'an empty file'}"
        )
    if len(data) < start:
        raise InvalidInput(f"{path}: expected a header of {start} bytes, got {len(data)} in all")
    shape = tuple(int(size) for size in np.frombuffer(data[4:start], ">u4"))
    size = start + math.prod(shape)
    if len(data) != size:
        raise InvalidInput(
            f"{path}: expected {size} bytes for shape {shape}, got {len(data)}; "
            f"the file is truncated or not the one that its header describes"
        )
    if 0 in shape:
        raise InvalidInput(f"{path}: expected at least one value, got shape {shape}")
    return np.frombuffer(data, np.uint8, offset=start).reshape(shape)


def _find(folder: Path, name: str) -> Path:
    # train-images.idx3-ubyte is how some archives spell train-images-idx3-ubyte.
    dotted = name.replace("-idx", ".idx")
    for candidate in (name, f"{name}.gz", dotted, f"{dotted}.gz"):
        if (folder / candidate).is_file():
            return folder / candidate
    raise InvalidInput(f"{folder}: expected a file {name} or {name}.gz, found neither")
