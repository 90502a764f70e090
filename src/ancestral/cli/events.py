"""Events that users pass to commands, and observed values of events (`--observed`)."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ancestral.arrays import check_range, integers
from ancestral.binarisation import binarised
from ancestral.cli.output import say
from ancestral.dataspec import DataSpec
from ancestral.engine import AutoregressiveEngine, inputs
from ancestral.errors import InvalidInput
from ancestral.files.array_file import ArrayFile


@dataclass(frozen=True, slots=True)
class Events:
    """The events of a file, unchanged; created by `Events.read`.

    Attributes:
        arrays: the file.
        x: the events, as stored; event i is binarised with noise i.
        binarise: whether to make them binary.
        levels: number of levels of the file's values; None means one more than the largest value,
            as in training.
    """

    arrays: ArrayFile
    x: NDArray[Any]
    binarise: bool
    levels: int | None

    @classmethod
    def read(cls, path: Path, binarise: bool, levels: int | None) -> "Events":
        """Read a file with events.

        Raises:
            InvalidInput: the file cannot be read, `levels` is given without `binarise`, or `levels`
                is less than 3.
        """
        if levels is not None and not binarise:
            raise InvalidInput("--levels: only used with --binarise; leave it out")
        if levels is not None and levels < 3:
            raise InvalidInput(f"--levels: expected an integer >= 3, got {levels}")
        arrays = ArrayFile.open(path)
        return cls(arrays, arrays.pick("x"), binarise, levels)

    def of_model(self, data: DataSpec, first: int | None = None) -> NDArray[Any]:
        """Return the events as a model takes them.

        Args:
            data: the space of the model's events.
            first: number of events to return; None for all.

        Raises:
            InvalidInput: with `binarise`, if the model does not have 2 levels, or the events are
                not integer levels or are binary already; without it, if the model has 2 levels and
                the events have more.
        """
        x, file = self.x, self.arrays.path
        needed = x[:first] if x.ndim else x
        if not self.binarise:
            _check_binary(file, needed, data)
            return needed
        if data.levels != 2:
            raise InvalidInput(
                f"--binarise: expected a model with 2 levels, got one with {data.levels}; leave it "
                f"out"
            )
        values = integers(f"{file}: x", x)
        if values.ndim < 2 or not values.size:
            return needed
        levels = int(values.max()) + 1 if self.levels is None else self.levels
        if levels < 3:
            raise InvalidInput(
                f"--binarise: expected more than 2 levels in {file}, got values up to "
                f"{values.max()}; leave it out, or give the number of levels with --levels"
            )
        check_range(f"{file}: x", values, 0, levels - 1)
        values = values[:first]
        bits = binarised(values.reshape(len(values), -1), levels, np.arange(len(values)))
        say(
            f"{file}: {len(values)} events with levels 0 .. {levels - 1} were binarised; event i "
            f"uses noise i, as in validation and test"
        )
        return bits.reshape(values.shape)


def labels_in(arrays: ArrayFile) -> NDArray[Any] | None:
    """Return the labels in a file: its array `y`, else `labels`; None if it has neither."""
    return arrays.get("y", arrays.get("labels"))


def check_labelled(path: Path, labels: object, engine: AutoregressiveEngine) -> None:
    """Check that events have labels if the model needs them.

    Args:
        path: the file of the events.
        labels: labels of the events; None if neither the command line nor the file has any.
        engine: the engine with the model.

    Raises:
        InvalidInput: the model needs labels and there are none.
    """
    classes, optional = engine.data.num_classes, engine.bundle.manifest.label_optional
    if classes is not None and labels is None and not optional:
        raise InvalidInput(
            f"`--label` is required: the model is conditional, p(x | y), and {path} has no labels; "
            f"pass a label in 0 .. {classes - 1}, or an .npz with y, one label per event"
        )


@dataclass(frozen=True, slots=True)
class Observed:
    """Observed values of events, and their labels; checked.

    Attributes:
        path: the file.
        events: levels, [n, *event_shape]; -1 marks a value that is not observed.
        axis: whether the array in the file has an axis of events.
        labels: [n]; None if neither the command line nor the file has labels, or the model has no
            classes.
        source: where the labels are from, for messages: "label 3" or "labels of half.npz"; empty
            without labels.
    """

    path: Path
    events: NDArray[Any]
    axis: bool
    labels: NDArray[Any] | None
    source: str

    def samples(self, n: int | None, of_one: int) -> int:
        """Return the number of samples: one of each event, or several of a single event.

        Args:
            n: number given with -n; None if it was not given.
            of_one: the number if there is only one event.

        Raises:
            InvalidInput: `n` differs from the number of events, and there are several events.
        """
        there = len(self.events)
        if there == 1:
            return of_one
        if n not in {None, there}:
            raise InvalidInput(
                f"-n: expected {there}, one sample for each event of {self.path}, got {n}; leave "
                f"it out"
            )
        return there


def read_observed(path: Path, label: int | None, engine: AutoregressiveEngine) -> Observed:
    """Read and check a file of observed values, before anything is drawn.

    Args:
        path: .npy with events, or .npz with `observed` (or `x`) and optionally `y` (or `labels`).
        label: the label of all events, instead of those in the file.
        engine: the engine that will draw the other values.

    Raises:
        InvalidInput: the file cannot be read, or an array in it is invalid.
    """
    arrays = ArrayFile.open(path)
    data, manifest = engine.data, engine.bundle.manifest
    array = arrays.pick("observed", "x")
    if array.dtype.kind == "f":
        raise InvalidInput(
            f"{path}: observed: expected integers, got {array.dtype}; convert them, with -1 for "
            f"values that are not observed"
        )
    axis = array.shape not in {data.event_shape, (data.length,)}
    n = len(array) if axis and array.ndim else 1
    if not n:
        raise InvalidInput(f"{path}: expected at least one event, got shape {array.shape}")
    found = labels_in(arrays) if label is None and data.num_classes is not None else None
    try:
        events = data.in_place(inputs.observed(array, n, data, manifest.first_position))
        labels = None if found is None else inputs.labels(found, n, data, manifest.label_optional)
    except InvalidInput as error:
        raise InvalidInput(f"{path}: {error}") from error
    if label is None:
        return Observed(path, events, axis, labels, "" if found is None else f"labels of {path}")
    # If the model has no classes, this refuses the label.
    labels = inputs.labels(label, n, data, manifest.label_optional)
    return Observed(path, events, axis, labels, f"label {label}")


def _check_binary(file: Path, x: NDArray[Any], data: DataSpec) -> None:
    """Check that events for a model with 2 levels are binary; the error suggests --binarise."""
    if data.levels != 2 or x.dtype.kind not in "iu" or not x.size or int(x.max()) < 2:
        return
    try:
        check_range("x", integers("x", x), 0, 1)
    except InvalidInput as error:
        raise InvalidInput(
            f"{file}: {error}: the file has values up to {x.max()}, the model has 2 levels; pass "
            f"--binarise if the model was trained with `ancestral train --binarise`"
        ) from error
