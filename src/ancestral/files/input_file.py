"""Files that users pass as input: opened without waiting for a pipe, and read up to a bound."""

import os
import stat
from io import BufferedReader
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from ancestral.errors import InvalidInput

LARGEST_FILE = 4 * 2**30
"""Bytes that are read of one file at most, unless a caller asks for more."""
_PIECE = 2**22
"""Bytes that are read at a time."""


@runtime_checkable
class Stream(Protocol):
    """A source of bytes: a file, or an entry of an archive while it is unpacked."""

    def read(self, size: int, /) -> bytes:
        """Return the next `size` bytes, or fewer at the end."""


def open_regular(path: Path) -> BufferedReader:
    """Open a regular file for reading.

    A pipe, a socket or a device is refused before it is opened: opening a pipe waits for a writer,
    and a device such as /dev/zero never ends.

    Raises:
        InvalidInput: the path is a folder, a pipe, a socket or a device.
        OSError: there is no such file, or it cannot be opened.
    """
    _check_regular(path, os.stat(path))
    # Another thing may have taken the name since: O_NONBLOCK does not wait for a pipe's writer.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    file = os.fdopen(descriptor, "rb")
    try:
        _check_regular(path, os.fstat(descriptor))
    except InvalidInput:
        file.close()
        raise
    return file


def read_bounded(path: Path, limit: int = LARGEST_FILE) -> bytes:
    """The content of a regular file.

    Args:
        path: of the file.
        limit: bytes that it may have at most.

    Raises:
        InvalidInput: it is not a regular file, or is larger.
        OSError: it cannot be read.
    """
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        # Memory of the size that is asked for is taken first, however small the file is.
        content = file.read(size + 1) if size <= limit else b""
        # The size of a file of /proc is 0, and a file may grow while it is read.
        if len(content) > size:
            content += file.read(limit + 1 - len(content))
    if size > limit or len(content) > limit:
        most, got = size_text(limit), size_text(size)
        got = f"{max(size, len(content)):,} bytes" if got == most or size <= limit else got
        raise InvalidInput(f"{path}: expected a file of at most {most}, got {got}")
    return content


def fill(stream: Stream, target: NDArray[np.uint8]) -> int:
    """Read as many bytes as an array [n] has place for, or as there are; their number."""
    done = 0
    while done < len(target):
        piece = stream.read(min(_PIECE, len(target) - done))
        if not piece:
            break
        target[done : done + len(piece)] = np.frombuffer(piece, np.uint8)
        done += len(piece)
    return done


def size_text(size: int) -> str:
    """A number of bytes, for people.

    >>> size_text(512), size_text(3 * 2**20), size_text(4 * 2**30)
    ('512 bytes', '3 MiB', '4 GiB')
    """
    if size >= 2**63:
        return "more than 8 EiB"
    for unit, name in ((2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB")):
        if size >= unit:
            return f"{size / unit:.4g} {name}"
    return f"{size} bytes"


def _check_regular(path: Path, status: os.stat_result) -> None:
    mode = status.st_mode
    if stat.S_ISDIR(mode):
        raise InvalidInput(f"{path}: expected a regular file, got a folder")
    if not stat.S_ISREG(mode):
        kind = "a pipe" if stat.S_ISFIFO(mode) else "a device"
        kind = "a socket" if stat.S_ISSOCK(mode) else kind
        raise InvalidInput(
            f"{path}: expected a regular file, got {kind}: write what comes from it to a file first"
        )
