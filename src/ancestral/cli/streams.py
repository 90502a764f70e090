"""Standard streams that are closed, full, or pipes whose reader has gone."""

import contextlib
import errno
import fcntl
import io
import os
import sys
from typing import TextIO


def open_streams() -> None:
    """Make sure that the process has three standard streams and can write to stdout and stderr.

    A stream that is closed (`>&-`) or read-only is replaced by the null device. Otherwise the next
    file that is opened would get the descriptor of a closed stream, and printed text would end up
    in that file. Characters that a stream cannot encode, for example in a path that is not UTF-8,
    are written as escapes.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            # open() returns the lowest free descriptor, which is this one.
            os.open(os.devnull, os.O_RDWR)
    for number, name in ((1, "stdout"), (2, "stderr")):
        if getattr(sys, name) is None or not _is_writable(number):
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115 - kept
        if isinstance(stream := getattr(sys, name), io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def flush_streams() -> OSError | None:
    """Flush stdout and stderr; return the error if one of them cannot be written to.

    The rest of such a stream is discarded, so that the interpreter does not fail on it at exit.
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
    """Return whether the error says that the reader of a pipe has gone."""
    return isinstance(error, OSError) and error.errno == errno.EPIPE


def _is_writable(number: int) -> bool:
    return fcntl.fcntl(number, fcntl.F_GETFL) & os.O_ACCMODE != os.O_RDONLY


def _drop(stream: TextIO) -> None:
    """Redirect a stream to the null device, including what it has buffered."""
    null = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(null, stream.fileno())
    finally:
        os.close(null)
    stream.flush()
