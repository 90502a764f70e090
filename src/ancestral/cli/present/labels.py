"""The labels in a file of events."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ancestral.errors import InvalidInput

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ancestral.engine import AutoregressiveEngine


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
