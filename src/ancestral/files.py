"""Files that are written whole or not at all, and their hashes."""

import hashlib
import os
import secrets
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import BinaryIO

from ancestral.errors import InvalidInput

Content = bytes | Callable[[BinaryIO], object]
"""What a file is to hold, or a function that writes it to an open binary file."""


def write_atomically(path: str | Path, data: Content) -> None:
    """Write a file so that its name always shows the old content or the new, both whole.

    The content goes to a temporary file of the same folder, reaches the disk, and then takes the
    name. Where that fails, a full disk say, the temporary file is removed and the old one stays.

    Args:
        path: where to; missing parent folders are made.
        data: the content, or a function that writes it.

    Raises:
        InvalidInput: a folder or a device has that name.
        OSError: the content could not be written.
    """
    write_together({path: data})


def write_together(contents: Mapping[str | Path, Content]) -> None:
    """Write several files: all of them reach the disk before the first takes its name.

    A disk that fills leaves every old file. The names change one after the other, in the order
    given: a process that is killed between two leaves new files and old ones, so the last should be
    the one that tells (by hashes, say) which others it belongs to.

    Args:
        contents: by path; missing parent folders are made.

    Raises:
        InvalidInput: a folder or a device has one of the names.
        OSError: a content could not be written.
    """
    waiting: list[tuple[Path, Path]] = []
    try:
        for path, data in contents.items():
            path = Path(path)
            if path.exists() and not path.is_file():
                raise InvalidInput(f"{path}: expected the path of a file, got another thing there")
            path.parent.mkdir(parents=True, exist_ok=True)
            waiting.append((path.parent / f".{path.name}.{secrets.token_hex(8)}.part", path))
            _write_through(waiting[-1][0], data)
        for temporary, path in waiting:
            os.replace(temporary, path)
    except BaseException:
        for temporary, _ in waiting:
            temporary.unlink(missing_ok=True)
        raise
    for folder in {path.parent for _, path in waiting}:
        sync_folder(folder)


def sha256(path: str | Path) -> str:
    """SHA-256 of a file's content, in hexadecimal.

    Raises:
        OSError: the file could not be read.
    """
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _write_through(path: Path, data: Content) -> None:
    """Write a new file as far as the disk itself."""
    with path.open("xb") as file:
        if callable(data):
            data(file)
        else:
            file.write(data)
        file.flush()
        os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Make a rename last through a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
