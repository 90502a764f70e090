"""Files that begin with the SHA-256 of what follows: a flipped bit is never read as content.

<kind>, one line; <64 hexadecimal digits>, one line; the content
"""

import hashlib
from collections.abc import Callable
from typing import BinaryIO

from ancestral.errors import InvalidInput

_DIGITS = 64
_PIECE = 2**20
"""Bytes that are hashed at a time."""


class Hashing:
    """A file that hashes what is written to it, and keeps the error of a write that failed.

    Libraries that write to it may raise an error of their own instead: `torch.save` does.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.digest = hashlib.sha256()
        self.error: OSError | None = None

    def write(self, data: bytes | memoryview) -> int:
        """Write as a file does."""
        try:
            count = self._file.write(data)
        except OSError as error:
            self.error = error
            raise
        self.digest.update(data)
        return count

    def flush(self) -> None:
        """Flush as a file does."""
        try:
            self._file.flush()
        except OSError as error:
            self.error = error
            raise


def write_sealed(file: BinaryIO, kind: str, write: Callable[[Hashing], object]) -> None:
    """Write a content with its hash before it.

    Args:
        file: empty, and able to seek.
        kind: of the file, on its first line.
        write: writes the content.

    Raises:
        OSError: it could not be written, whatever `write` made of that error.
    """
    head = f"{kind}\n".encode()
    file.write(head + b"0" * _DIGITS + b"\n")
    hashing = Hashing(file)
    try:
        write(hashing)
    except RuntimeError:
        if hashing.error is not None:
            raise hashing.error from None
        raise
    file.seek(len(head))
    file.write(hashing.digest.hexdigest().encode())


def check_sealed(file: BinaryIO, kind: str) -> None:
    """Check a file against its hash, and leave it at the first byte of its content.

    Args:
        file: at its first byte; it is read in pieces, so that its content need not fit in memory.
        kind: of the file, on its first line.

    Raises:
        InvalidInput: the file is of another kind, or was altered or cut short.
        OSError: it cannot be read.
    """
    head = f"{kind}\n".encode()
    start = file.read(len(head))
    if start != head:
        first = start.split(b"\n")[0]
        raise InvalidInput(f"expected a file that begins with {kind!r}, got {first!r}")
    expected, content = file.read(_DIGITS + 1), file.tell()
    # hashlib.file_digest takes a file in memory from its first byte on, wherever it is.
    digest = hashlib.sha256()
    while piece := file.read(_PIECE):
        digest.update(piece)
    if expected != f"{digest.hexdigest()}\n".encode():
        raise InvalidInput("its SHA-256 does not fit: the file was altered or cut short")
    file.seek(content)
