"""Files of `--observed`: values that are forced, of one event or of several, and their labels."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from ancestral.cli.events import labels_in
from ancestral.engine import AutoregressiveEngine, inputs
from ancestral.errors import InvalidInput
from ancestral.files.array_file import ArrayFile


@dataclass(frozen=True, slots=True)
class Observed:
    """Observed values, checked, and the label of each event.

    Attributes:
        path: the file.
        events: [n, *event_shape] in levels; -1 is free.
        axis: whether the array in the file has an axis of events.
        labels: [n]; None where neither the command line nor the file has labels, or the model has
            no classes.
        source: how labels are said, "label 3" or "labels of half.npz"; empty without labels.
    """

    path: Path
    events: NDArray[Any]
    axis: bool
    labels: NDArray[Any] | None
    source: str

    def samples(self, n: int | None, of_one: int) -> int:
        """The number of samples: one of each event, or several of the only event.

        Args:
            n: the number that was asked for, or None.
            of_one: the number where there is only one event.

        Raises:
            InvalidInput: another number was asked for than the file has events.
        """
        there = len(self.events)
        if there == 1:
            return of_one
        if n not in {None, there}:
            raise InvalidInput(
                f"-n: {self.path} has {there} events, and a sample is drawn for each: expected "
                f"-n {there} or no -n, got -n {n}"
            )
        return there


def read_observed(path: Path, label: int | None, engine: AutoregressiveEngine) -> Observed:
    """Read and check a file of observed values, before anything is drawn.

    Args:
        path: .npy with events, or .npz with `observed` (or x) and perhaps y (or labels).
        label: the label of all events, instead of those in the file.
        engine: whose events they are.

    Raises:
        InvalidInput: the file cannot be read, or an array in it is wrong.
    """
    arrays = ArrayFile.open(path)
    data, manifest = engine.data, engine.bundle.manifest
    array = arrays.pick("observed", "x")
    if array.dtype.kind == "f":
        raise InvalidInput(
            f"{path}: observed: expected integers, got {array.dtype}: cast them, with -1 "
            f"where a value is free"
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
    # Where the model has no classes the engine refuses it.
    labels = inputs.labels(label, n, data, manifest.label_optional)
    return Observed(path, events, axis, labels, f"label {label}")
