"""The data of `ancestral compare`: events in arrays, or texts cut into windows."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ancestral.arrays import shown
from ancestral.bulk.array_source import axes_of_idx
from ancestral.cli.events import Events, labels_in
from ancestral.cli.text_input import encode_texts, read_text
from ancestral.engine import Engine
from ancestral.engine.losses import windows
from ancestral.errors import InvalidInput
from ancestral.files.array_file import LARGEST_ARRAY, ArrayFile
from ancestral.files.input_file import open_regular, unreadable
from ancestral.files.json_lines import json_lines
from ancestral.train.data.idx import read_idx

_JSON_LINES = {".jsonl", ".ndjson"}
_ARRAYS = (b"PK\x03\x04", b"PK\x05\x06", b"\x93NUM")
"""First bytes of .npz and .npy files."""


@dataclass(frozen=True, slots=True)
class DataOptions:
    """Options about the data.

    Attributes:
        n: number of first events or windows that are compared; None means all.
        window: tokens of a window; None means the model's length.
        label: label of all events, instead of those in the file.
        binarise: whether to make events binary.
        levels: number of levels of the file, for `binarise`.
    """

    n: int | None
    window: int | None
    label: int | None
    binarise: bool
    levels: int | None


@dataclass(frozen=True, slots=True)
class ComparedData:
    """Data as `engine.losses.compare` takes them.

    Attributes:
        x: events [n, ...], or windows of ids [n, t].
        lengths: number of ids of each window, [n]; None for events.
        labels: label of all events, or of each, [n]; None without labels.
    """

    x: NDArray[Any]
    lengths: NDArray[np.int64] | None
    labels: Any

    @classmethod
    def read(cls, path: Path, engine: Engine, options: DataOptions) -> "ComparedData":
        """Read a file.

        Args:
            path: an .npz or .npy of events, an IDX file, a JSONL of texts, or a plain text if the
                bundle has a tokenizer.
            engine: engine of the bundle.
            options: options about the data.

        Raises:
            InvalidInput: the file cannot be read, or an option does not fit it.
        """
        if path.suffix.lower() in _JSON_LINES:
            found = _texts(engine, _lines(path), path, options)
        elif _is_text(path) and engine.data.tokenizer is not None:
            found = _texts(engine, [read_text(path, "--data")], path, options)
        else:
            found = _events(engine, path, options)
        return found._first(options.n)

    def _first(self, n: int | None) -> "ComparedData":
        if n is None:
            return self
        if not 2 <= n <= len(self.x):
            raise InvalidInput(
                f"-n: expected 2 .. {len(self.x)}, the events or windows of the data, got {n}"
            )
        lengths = None if self.lengths is None else self.lengths[:n]
        each = isinstance(self.labels, np.ndarray)
        return ComparedData(self.x[:n], lengths, self.labels[:n] if each else self.labels)


def _events(engine: Engine, path: Path, options: DataOptions) -> ComparedData:
    """Return the events of a file of arrays."""
    if options.window is not None:
        raise InvalidInput("--window: only used with texts; leave it out")
    axes = axes_of_idx(path)
    if axes is None:
        events = Events.read(path, options.binarise, options.levels)
    else:
        # An IDX file has no names of arrays, and no labels.
        file = ArrayFile(path, (), LARGEST_ARRAY)
        events = Events(file, read_idx(path, axes=axes), options.binarise, options.levels)
    x = events.of_model(engine.data)
    if options.label is not None or engine.data.num_classes is None:
        return ComparedData(x, None, options.label)
    labels = labels_in(events.arrays)
    if labels is not None and (labels.ndim != 1 or len(labels) != len(x)):
        raise InvalidInput(
            f"{path}: expected one label for each of {len(x)} events, got shape "
            f"{list(labels.shape)}"
        )
    return ComparedData(x, None, labels)


def _texts(engine: Engine, texts: list[str], path: Path, options: DataOptions) -> ComparedData:
    """Return texts as windows of ids."""
    if options.binarise or options.levels is not None:
        option = "--binarise" if options.binarise else "--levels"
        raise InvalidInput(f"{option}: only used with events; leave it out")
    if engine.data.tokenizer is None:
        raise InvalidInput(
            f"{path}: {engine.bundle.path} has no tokenizer; pass events x in an .npz instead"
        )
    most, first = engine.data.length, engine.bundle.manifest.first_position
    width = most if options.window is None else options.window
    if not 1 + first <= width <= most:
        raise InvalidInput(
            f"--window: expected {1 + first} .. {most}, the model's length, got {width}"
        )
    ids = encode_texts(engine.tokenizer(), texts, str(path))
    x, lengths = windows(ids, width, first)
    return ComparedData(x, lengths, options.label)


def _lines(path: Path) -> list[str]:
    """Return the texts of a JSONL file: strings, or objects with the field text."""
    texts = []
    for number, value in json_lines(path):
        text = value.get("text") if isinstance(value, dict) else value
        if not isinstance(text, str):
            raise InvalidInput(
                f'{path}: line {number}: expected a string or an object with the field "text", '
                f"got {shown(value)}"
            )
        texts.append(text)
    if not texts:
        raise InvalidInput(f"{path}: expected at least one text, got an empty file")
    return texts


def _is_text(path: Path) -> bool:
    """Return whether a file is plain text: neither arrays nor an IDX file."""
    try:
        with open_regular(path) as file:
            start = file.read(4)
    except OSError as error:
        raise InvalidInput(unreadable(path, error)) from error
    return start not in _ARRAYS and axes_of_idx(path) is None
