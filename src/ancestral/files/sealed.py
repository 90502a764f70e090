"""Files that begin with the SHA-256 of their content, so that a flipped bit is detected.

Format: a line with the kind, a line with 64 hexadecimal digits, and the content.
"""

import hashlib
from collections.abc import Callable
from typing import BinaryIO

from ancestral.errors import InvalidInput

_DIGITS = 64
_PIECE = 2**20
"""Number of bytes that are hashed in one piece."""


class Hashing:
    """File that hashes the bytes written to it, and keeps the error of a failed write.

    Libraries that write to it may replace that error with their own, as `torch.save` does.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.digest = hashlib.sha256()
        self.error: OSError | None = None

    def write(self, data: bytes | memoryview) -> int:
        """Write bytes, as a file does."""
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
    """Write the kind, the hash and the content of a file.

    Args:
        file: empty file that supports seeking.
        kind: kind of the file, for its first line.
        write: function that writes the content.

    Raises:
        OSError: the content could not be written, even if `write` raised a RuntimeError for it.
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
        file: file at its first byte; it is read in pieces, so its content need not fit in memory.
        kind: expected kind, on the first line of the file.

    Raises:
        InvalidInput: the file is of another kind, or was altered or truncated.
        OSError: the file cannot be read.
    """
    head = f"{kind}\n".encode()
    start = file.read(len(head))
    if start != head:
        first = start.split(b"\n")[0]
        raise InvalidInput(f"expected a file that begins with {kind!r}, got {first!r}")
    expected, content = file.read(_DIGITS + 1), file.tell()
    # Not hashlib.file_digest, which hashes an in-memory file from its first byte on.
    digest = hashlib.sha256()
    while piece := file.read(_PIECE):
        digest.update(piece)
    if expected != f"{digest.hexdigest()}\n".encode():
        raise InvalidInput("altered or truncated (its SHA-256 does not match)")
    file.seek(content)
