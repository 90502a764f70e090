"""Write files whole or not at all, and hash them."""

import contextlib
import hashlib
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import BinaryIO

from ancestral.errors import InvalidInput
from ancestral.files.renames import finish_renames, is_listed, rename_together, sync_folder
from ancestral.files.temporary import Temporary, sweep, temporary

Content = bytes | Callable[[BinaryIO], object]
"""Content of a file, or a function that writes it to an open binary file."""


def write_atomically(path: str | Path, data: Content) -> None:
    """Write a file so that its name always has either the whole old content or the whole new one.

    The content is written to a temporary file in the same folder and flushed to disk; then the file
    takes the name. If that fails, for example because the disk is full, the temporary file is
    removed and the old one stays.

    Args:
        path: path of the file; missing parent folders are created.
        data: content, or a function that writes it.

    Raises:
        InvalidInput: a folder or a device has that name.
        OSError: the content could not be written.
    """
    write_together({path: data})


def write_together(contents: Mapping[str | Path, Content]) -> None:
    """Write several files, all of which are flushed to disk before the first takes its name.

    If the disk is full, every old file stays. If the process is killed while files of one folder
    take their names, the next writer in that folder finishes (`ancestral.files.renames`).
    Unfinished files of killed processes in those folders are removed.

    Args:
        contents: content of each file by path; missing parent folders are created.

    Raises:
        InvalidInput: a folder or a device has one of the names.
        OSError: a file could not be written.
    """
    paths = [Path(path) for path in contents]
    for path in paths:
        if path.exists() and not path.is_file():
            raise InvalidInput(f"{path}: expected the path of a file, got a folder or a device")
    folders = {path.parent for path in paths}
    for folder in folders:
        folder.mkdir(parents=True, exist_ok=True)
        tidy(folder)
    with contextlib.ExitStack() as locks:
        waiting: dict[Path, Path] = {}
        try:
            for path, data in zip(paths, contents.values(), strict=True):
                work = locks.enter_context(temporary(path))
                waiting[work.path] = path
                _write_through(work, data)
            if len(paths) > 1 and len(folders) == 1:
                rename_together(waiting)
            else:
                for each, path in waiting.items():
                    os.replace(each, path)
        except BaseException:
            for each in waiting:
                each.unlink(missing_ok=True)
            raise
    for folder in folders:
        sync_folder(folder)


def tidy(folder: Path) -> None:
    """Finish the renames of killed processes in a folder, and remove their unfinished files."""
    finish_renames(folder)
    sweep(folder, needed=is_listed)


def sha256(path: str | Path) -> str:
    """Return the SHA-256 of a file's content, in hexadecimal.

    Raises:
        OSError: the file could not be read.
    """
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _write_through(work: Temporary, data: Content) -> None:
    """Write a new file and flush it to disk."""
    with os.fdopen(work.handle, "wb", closefd=False) as file:
        if callable(data):
            data(file)
        else:
            file.write(data)
    os.fsync(work.handle)
