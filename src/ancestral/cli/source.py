"""The data that a command line names: digits, idx:FOLDER, npz:FILE, text:FILE."""

from typing import TYPE_CHECKING

from ancestral.errors import InvalidInput

if TYPE_CHECKING:
    from ancestral.train.data import Dataset


def load_source(source: str, recipe: str) -> "Dataset":
    """Load a data set.

    Args:
        source: its kind and, but for digits, its path.
        recipe: that it is for, named where the path is missing.

    Raises:
        InvalidInput: an unknown kind, no path, or files that cannot be read.
    """
    from ancestral.train.data import load_digits, load_idx, load_npz, load_text

    kind, _, path = source.partition(":")
    known = kind in ("digits", "idx", "npz", "text")
    if not known or (kind == "digits" and path):
        raise InvalidInput(
            f"--data: expected digits, idx:FOLDER, npz:FILE or text:FILE, got {source!r}"
        )
    if kind != "digits" and not path:
        what = "FOLDER" if kind == "idx" else "FILE"
        raise InvalidInput(
            f"--data: expected a path to the data of recipe {recipe!r}: --data {kind}:{what}"
        )
    match kind:
        case "idx":
            return _printable(load_idx(path))
        case "npz":
            return _printable(load_npz(path))
        case "text":
            return _printable(load_text(path))
        case _:
            return load_digits()


def _printable(data: "Dataset") -> "Dataset":
    """The data, whose name comes from a path, with a name that JSON can hold."""
    from dataclasses import replace

    from ancestral.cli.output import printable

    name = printable(data.spec.name)
    if name == data.spec.name:
        return data
    return replace(data, spec=data.spec.model_copy(update={"name": name}))
