"""The data sets of `--data`: digits, python, idx:FOLDER, npz:FILE, text:FILE."""

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from ancestral.errors import InvalidInput

if TYPE_CHECKING:
    from ancestral.train.data import Dataset


def load_source(source: str, recipe: str) -> "Dataset":
    """Load a data set.

    Args:
        source: the kind of data and, except for digits and python, its path.
        recipe: name of the recipe, for the error if the path is missing.

    Raises:
        InvalidInput: the kind is unknown, the path is missing, or a file cannot be read.
    """
    from ancestral.cli.output import printable
    from ancestral.train.data import load_digits, load_idx, load_npz, load_python, load_text

    kind, _, path = source.partition(":")
    loaders: dict[str, Callable[[str], Dataset]] = {
        "idx": load_idx,
        "npz": load_npz,
        "text": load_text,
    }
    if source in ("digits", "digits:"):
        return load_digits()
    if source in ("python", "python:"):
        return load_python()
    if kind not in loaders:
        raise InvalidInput(
            f"--data: expected digits, python, idx:FOLDER, npz:FILE or text:FILE, got {source!r}"
        )
    if not path:
        what = "FOLDER" if kind == "idx" else "FILE"
        raise InvalidInput(f"`--data` is required for recipe {recipe!r}; pass --data {kind}:{what}")
    data = loaders[kind](path)
    # The name comes from a path, and JSON cannot hold lone surrogates.
    return replace(data, spec=data.spec.model_copy(update={"name": printable(data.spec.name)}))
