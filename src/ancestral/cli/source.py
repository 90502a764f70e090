"""The data that a command line names: digits, idx:FOLDER, npz:FILE, text:FILE."""

from collections.abc import Callable
from dataclasses import replace
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
    from ancestral.cli.output import printable
    from ancestral.train.data import load_digits, load_idx, load_npz, load_text

    kind, _, path = source.partition(":")
    loaders: dict[str, Callable[[str], Dataset]] = {
        "idx": load_idx,
        "npz": load_npz,
        "text": load_text,
    }
    if source in ("digits", "digits:"):
        return load_digits()
    if kind not in loaders:
        raise InvalidInput(
            f"--data: expected digits, idx:FOLDER, npz:FILE or text:FILE, got {source!r}"
        )
    if not path:
        what = "FOLDER" if kind == "idx" else "FILE"
        raise InvalidInput(
            f"--data: expected a path to the data of recipe {recipe!r}: --data {kind}:{what}"
        )
    data = loaders[kind](path)
    # The name comes from a path: JSON must be able to hold it.
    return replace(data, spec=data.spec.model_copy(update={"name": printable(data.spec.name)}))
