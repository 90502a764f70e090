"""A JSON object of a model's folder, of bounded size and depth."""

import json
from pathlib import Path
from typing import Any

from ancestral.errors import CheckpointError
from ancestral.excerpts import cut

_LONGEST = 2**20
_DEEPEST = 32


def read_object(path: Path, what: str, longest: int = _LONGEST) -> dict[str, Any]:
    """The fields of a JSON file.

    Args:
        path: of the file.
        what: it is, for messages: "the config.json of a model", say.
        longest: bytes that it may have.

    Raises:
        CheckpointError: there are none.
    """
    return object_of(read_file(path, what, longest), path)


def read_file(path: Path, what: str, longest: int) -> bytes:
    """The content of a file, not of a pipe, a device or a folder.

    Args:
        path: of the file.
        what: it is, for messages.
        longest: bytes that it may have; more are not read.

    Raises:
        CheckpointError: it is none, or longer.
    """
    try:
        if path.exists() and not path.is_file():
            raise CheckpointError(
                f"{path}: expected {what}, got a folder, a pipe or a device of that name"
            )
        with path.open("rb") as file:
            text = file.read(longest + 1)
    except OSError as error:
        raise CheckpointError(
            f"{path}: expected {what}, got: {error.strerror}; "
            f"a model is the folder that save_pretrained or `ancestral train` writes"
        ) from error
    if len(text) > longest:
        raise CheckpointError(
            f"{path}: expected at most {longest} bytes, got more; this is not {what}: "
            f"fetch the folder anew"
        )
    return text


def object_of(text: bytes, path: Path) -> dict[str, Any]:
    """The fields of a JSON text that was read from a file.

    Raises:
        CheckpointError: it is none, or no object.
    """
    try:
        values = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise CheckpointError(
            f"{path}: expected JSON, got: {cut(str(error))}; fetch the folder anew"
        ) from error
    if not isinstance(values, dict):
        raise CheckpointError(
            f"{path}: expected a JSON object, got {type(values).__name__}; fetch the folder anew"
        )
    if _depth(values) > _DEEPEST:
        raise CheckpointError(
            f"{path}: expected values nested at most {_DEEPEST} deep, got deeper ones; fetch the "
            f"folder anew"
        )
    return values


def _depth(value: object) -> int:
    """How deep objects and lists are nested: 0 for a number."""
    depth, level = 0, [value]
    while True:
        inner = [each for each in level if isinstance(each, dict | list)]
        if not inner:
            return depth
        depth += 1
        level = [each for one in inner for each in (one.values() if isinstance(one, dict) else one)]
