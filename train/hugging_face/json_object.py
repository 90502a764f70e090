"""Reader for the JSON objects in a model's folder, with limits on size and depth."""

from pathlib import Path
from typing import Any

from ancestral.errors import CheckpointError, InvalidInput
from ancestral.excerpts import cut
from ancestral.files.input_file import read_bounded, unreadable
from ancestral.strict_json import Bounds, parse

_LONGEST = 2**20


def read_object(path: Path, what: str, longest: int = _LONGEST) -> dict[str, Any]:
    """Read the fields of a JSON file.

    Args:
        path: path of the file.
        what: what the file is, for messages, for example "the config.json of a model".
        longest: largest size of the file, in bytes.

    Raises:
        CheckpointError: the file does not exist, or does not hold a JSON object.
    """
    text = read_file(path, what, longest)
    try:
        values = parse(text, Bounds.of_size(len(text)))
    except ValueError as error:
        raise CheckpointError(
            f"{path}: not valid JSON ({cut(str(error))}); download the folder again"
        ) from error
    if not isinstance(values, dict):
        raise CheckpointError(
            f"{path}: expected a JSON object, got {type(values).__name__}; download the folder "
            f"again"
        )
    return values


def read_file(path: Path, what: str, longest: int) -> bytes:
    """Read a regular file, not a pipe, a device or a folder.

    Args:
        path: path of the file.
        what: what the file is, for messages.
        longest: largest size of the file, in bytes; a larger one is not read.

    Raises:
        CheckpointError: the file cannot be read, or is too large.
    """
    try:
        return read_bounded(path, longest)
    except InvalidInput as error:
        reason = str(error).removeprefix(f"{path}: ")
        raise CheckpointError(
            f"{path}: not {what} ({reason}); download the folder again"
        ) from error
    except FileNotFoundError as error:
        raise CheckpointError(
            f"{path}: no such file; pass a folder that save_pretrained or `ancestral train` wrote"
        ) from error
    except OSError as error:
        raise CheckpointError(unreadable(path, error)) from error
    except MemoryError as error:
        raise CheckpointError(
            f"{path}: does not fit in memory; free some memory and run again"
        ) from error
