"""A JSON object of a model's folder, and reports of all that is wrong in one."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ancestral.errors import CheckpointError

_LONGEST = 2**20


def read_object(path: Path, what: str, longest: int = _LONGEST) -> dict[str, Any]:
    """The fields of a JSON file.

    Args:
        path: of the file.
        what: it is, for messages: "the config.json of a model", say.
        longest: bytes that it may have.

    Raises:
        CheckpointError: there are none.
    """
    try:
        with path.open("rb") as file:
            text = file.read(longest + 1)
    except OSError as error:
        raise CheckpointError(
            f"{path}: expected {what}, got: {error.strerror}; "
            f"a model is the folder that save_pretrained writes"
        ) from error
    if len(text) > longest:
        raise CheckpointError(
            f"{path}: expected at most {longest} bytes, got more; this is not {what}: "
            f"fetch the folder anew"
        )
    return object_of(text, path)


def object_of(text: bytes, path: Path) -> dict[str, Any]:
    """The fields of a JSON text that was read from a file.

    Raises:
        CheckpointError: it is none, or no object.
    """
    try:
        values = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise CheckpointError(
            f"{path}: expected JSON, got: {error}; fetch the folder anew"
        ) from error
    if not isinstance(values, dict):
        raise CheckpointError(
            f"{path}: expected a JSON object, got {type(values).__name__}; fetch the folder anew"
        )
    return values


def report(what: str, problems: Iterable[str]) -> str:
    """All problems at once, a line each."""
    return f"{what}:\n" + "\n".join(f"  - {problem}" for problem in problems)
