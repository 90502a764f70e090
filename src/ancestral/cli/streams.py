"""Standard streams of any kind: closed ones, full ones, pipes that nobody reads any more."""

import contextlib
import errno
import fcntl
import io
import os
import sys
from typing import TextIO


def open_streams() -> None:
    """Give the process three standard streams that can be written to, whatever it began with.

    A closed one (`>&-`), or one that is open for reading only, becomes the null device: the number
    of a closed one would otherwise be that of the next file that is opened, and what is printed
    would end up in it. Characters that a stream cannot encode, of a path that is not UTF-8 say, are
    written as escapes.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            # The lowest number that is free, which is this one.
            os.open(os.devnull, os.O_RDWR)
    for number, name in ((1, "stdout"), (2, "stderr")):
        if getattr(sys, name) is None or not _is_writable(number):
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115 - kept
        if isinstance(stream := getattr(sys, name), io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def flush_streams() -> OSError | None:
    """Flush both streams; the error where one of them could not be written to.

    What is left in such a stream is dropped, so that the interpreter does not meet it again when it
    ends.
    """
    found: OSError | None = None
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError as error:
            found = error
            with contextlib.suppress(OSError):
                _drop(stream)
    return found


def is_broken_pipe(error: BaseException | None) -> bool:
    """Whether nobody reads what was to be written."""
    return isinstance(error, OSError) and error.errno == errno.EPIPE


def _is_writable(number: int) -> bool:
    return fcntl.fcntl(number, fcntl.F_GETFL) & os.O_ACCMODE != os.O_RDONLY


def _drop(stream: TextIO) -> None:
    """Send what a stream holds, and what still comes, to the null device."""
    null = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(null, stream.fileno())
    finally:
        os.close(null)
    stream.flush()
