"""The labels of events: one for all, those of a file, or the classes in turn."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ancestral.errors import InvalidInput

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ancestral.dataspec import DataSpec
    from ancestral.engine import AutoregressiveEngine


def in_turn(
    label: int | None, n: int, first_index: int, data: "DataSpec"
) -> tuple["int | NDArray[Any] | None", str]:
    """The labels for the engine, and how they are told.

    Args:
        label: of all samples; None takes the classes in turn by sample index, if there are any.
        n: number of samples.
        first_index: sample index of the first.
        data: the space of events, with its classes.
    """
    if label is not None:
        return label, f"label {label}, "
    if data.num_classes is None:
        return None, ""
    cycle = (first_index % data.num_classes + np.arange(max(n, 0))) % data.num_classes
    return cycle, f"labels 0 .. {data.num_classes - 1} in turn, "


def in_file(arrays: "Mapping[str, NDArray[Any]]") -> "NDArray[Any] | None":
    """The labels in a file of events: its array y, or else labels; None where it has neither."""
    return arrays.get("y", arrays.get("labels"))


def check_labelled(path: "Path | None", labels: object, engine: "AutoregressiveEngine") -> None:
    """Refuse events without labels where the model needs them.

    Args:
        path: the file of the events.
        labels: theirs; None where neither the command line nor the file has any.
        engine: with the model.

    Raises:
        InvalidInput: there are none.
    """
    classes, optional = engine.data.num_classes, engine.bundle.manifest.label_optional
    if classes is not None and labels is None and not optional:
        raise InvalidInput(
            f"--label: the model is of p(x | y), and {path} has no labels: give --label with a "
            f"label in 0 .. {classes - 1}, or an .npz with y, a label for each event"
        )
