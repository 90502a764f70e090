"""A JSON object of a model's folder, of bounded size and depth."""

from pathlib import Path
from typing import Any

from ancestral.errors import CheckpointError, InvalidInput
from ancestral.excerpts import cut
from ancestral.files.input_file import read_bounded
from ancestral.strict_json import Bounds, parse

_LONGEST = 2**20


def read_object(path: Path, what: str, longest: int = _LONGEST) -> dict[str, Any]:
    """The fields of a JSON file.

    Args:
        path: of the file.
        what: it is, for messages: "the config.json of a model", say.
        longest: bytes that it may have.

    Raises:
        CheckpointError: there is no such file, or it does not hold a JSON object.
    """
    text = read_file(path, what, longest)
    try:
        values = parse(text, Bounds.of_size(len(text)))
    except ValueError as error:
        raise CheckpointError(
            f"{path}: expected JSON, got: {cut(str(error))}; fetch the folder anew"
        ) from error
    if not isinstance(values, dict):
        raise CheckpointError(
            f"{path}: expected a JSON object, got {type(values).__name__}; fetch the folder anew"
        )
    return values


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
        return read_bounded(path, longest)
    except InvalidInput as error:
        raise CheckpointError(f"{error}; this is not {what}: fetch the folder anew") from error
    except OSError as error:
        raise CheckpointError(
            f"{path}: expected {what}, got: {error.strerror}; "
            f"a model is the folder that save_pretrained or `ancestral train` writes"
        ) from error
    except MemoryError as error:
        raise CheckpointError(f"{path}: expected {what}, got one beyond all memory") from error
