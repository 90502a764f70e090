"""Open files that users pass as input without waiting for a pipe, and read them up to a limit."""

import os
import stat
from io import BufferedReader
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from ancestral.errors import InvalidInput

LARGEST_FILE = 4 * 2**30
"""Default limit on the bytes of one file."""
_PIECE = 2**22
"""Number of bytes that are read in one piece."""


@runtime_checkable
class Stream(Protocol):
    """A source of bytes: a file, or an entry of an archive while it is unpacked."""

    def read(self, size: int, /) -> bytes:
        """Return the next bytes, at most `size`; empty at the end."""


def open_regular(path: Path) -> BufferedReader:
    """Open a regular file for reading.

    A pipe, a socket or a device is refused before it is opened: opening a pipe waits for a writer,
    and a device such as /dev/zero never ends.

    Raises:
        InvalidInput: the path is a folder, a pipe, a socket or a device.
        OSError: the file does not exist or cannot be opened.
    """
    _check_regular(path, os.stat(path))
    # A pipe may have taken the name since the check; O_NONBLOCK does not wait for its writer.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    file = os.fdopen(descriptor, "rb")
    try:
        _check_regular(path, os.fstat(descriptor))
    except InvalidInput:
        file.close()
        raise
    return file


def read_bounded(path: Path, limit: int = LARGEST_FILE) -> bytes:
    """Read the content of a regular file.

    Args:
        path: path of the file.
        limit: most bytes that it may have.

    Raises:
        InvalidInput: the path is not a regular file, or the file is larger than the limit.
        OSError: the file cannot be read.
    """
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        # `read` allocates the size that it is called with, so not limit + 1 for a small file.
        content = file.read(size + 1) if size <= limit else b""
        # Files in /proc have size 0, and a file may grow while it is read.
        if len(content) > size:
            content += file.read(limit + 1 - len(content))
    if size > limit or len(content) > limit:
        most, got = size_text(limit), size_text(size)
        got = f"{max(size, len(content)):,} bytes" if got == most or size <= limit else got
        raise InvalidInput(f"{path}: expected a file of at most {most}, got {got}")
    return content


def unreadable(path: Path, error: OSError) -> str:
    """Return the message for a file that does not exist or cannot be read."""
    if isinstance(error, FileNotFoundError):
        return f"{path}: no such file"
    return f"{path}: cannot be read ({error.strerror or error}); check its permissions"


def fill(stream: Stream, target: NDArray[np.uint8]) -> int:
    """Fill an array [n] with bytes of a stream; return their number, less than n if it ends."""
    done = 0
    while done < len(target):
        piece = stream.read(min(_PIECE, len(target) - done))
        if not piece:
            break
        target[done : done + len(piece)] = np.frombuffer(piece, np.uint8)
        done += len(piece)
    return done


def size_text(size: int) -> str:
    """Format a number of bytes for display.

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
            f"{path}: expected a regular file, got {kind}; write its content to a file first"
        )
