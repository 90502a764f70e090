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
            return load_idx(path)
        case "npz":
            return load_npz(path)
        case "text":
            return load_text(path)
        case _:
            return load_digits()
