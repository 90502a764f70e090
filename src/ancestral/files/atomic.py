"""Files that are written whole or not at all, and their hashes."""

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

    A disk that fills leaves every old file. Where a process is killed while the names of files of
    one folder change, the next writer there changes the rest (`ancestral.files.renames`).
    What killed processes left half written in those folders is removed.

    Args:
        contents: by path; missing parent folders are made.

    Raises:
        InvalidInput: a folder or a device has one of the names.
        OSError: a content could not be written.
    """
    paths = [Path(path) for path in contents]
    for path in paths:
        if path.exists() and not path.is_file():
            raise InvalidInput(f"{path}: expected the path of a file, got another thing there")
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
    """Finish, and then remove, what killed processes left in a folder."""
    finish_renames(folder)
    sweep(folder, needed=is_listed)


def sha256(path: str | Path) -> str:
    """SHA-256 of a file's content, in hexadecimal.

    Raises:
        OSError: the file could not be read.
    """
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _write_through(work: Temporary, data: Content) -> None:
    """Write a new file as far as the disk itself."""
    with os.fdopen(work.handle, "wb", closefd=False) as file:
        if callable(data):
            data(file)
        else:
            file.write(data)
    os.fsync(work.handle)
