"""What a command has of its process: standard streams, of any kind, and Ctrl-C.

Streams may be closed, full, or pipes that nobody reads any more. Ctrl-C counts also where a library
swallows it; what was finished before it is kept.
"""

import contextlib
import errno
import fcntl
import io
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import TextIO, TypeVar

from ancestral.cli.output import say

T = TypeVar("T")

_AGAIN = 0.02
"""Seconds after which an interrupt that was swallowed is raised once more."""


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


class Interrupts:
    """The handling of Ctrl-C while a command runs; made by `main`, once in a process.

    Python raises KeyboardInterrupt wherever the main thread is. Where that is a callback of the
    garbage collector, the exception is printed and dropped; where it is the beginning of a library
    in C, it becomes an ImportError. Both end the command as Ctrl-C does.

    Attributes:
        seen: whether Ctrl-C was pressed.
    """

    def __init__(self) -> None:
        self.seen = False

    def install(self) -> None:
        """Take the place of Python's own handler; a signal that is ignored (nohup) stays so."""
        if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            signal.signal(signal.SIGINT, self._interrupt)
            sys.unraisablehook = self._unraisable

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        self.seen = True
        raise KeyboardInterrupt

    def _unraisable(self, dropped: "sys.UnraisableHookArgs") -> None:
        if not issubclass(dropped.exc_type, KeyboardInterrupt):
            sys.__unraisablehook__(dropped)
            return
        # Not from here: what is raised here is dropped too.
        main = threading.main_thread().ident
        assert main is not None
        again = threading.Timer(_AGAIN, signal.pthread_kill, (main, signal.SIGINT))
        again.daemon = True
        again.start()


def finished(batches: Iterator[T]) -> tuple[list[T], bool]:
    """The batches that were finished, and whether Ctrl-C came before the last."""
    parts: list[T] = []
    try:
        for part in batches:
            parts.append(part)
    except KeyboardInterrupt:
        return parts, True
    return parts, False


@contextlib.contextmanager
def noted_interrupt(words: str) -> Iterator[Callable[[], bool]]:
    """Let work end where it suits it: the first Ctrl-C is noted only, a second one interrupts.

    Args:
        words: said at the first one.

    Yields:
        whether there was one. Where neither Python nor `Interrupts` handles Ctrl-C (outside the
        main thread, in the background of a shell) nothing changes.
    """
    noted = threading.Event()
    before = signal.getsignal(signal.SIGINT)
    ours = isinstance(getattr(before, "__self__", None), Interrupts)
    main = threading.current_thread() is threading.main_thread()
    if not main or not callable(before) or not (ours or before is signal.default_int_handler):
        yield noted.is_set
        return

    def note(number: int, frame: FrameType | None) -> None:
        if noted.is_set():
            before(number, frame)
        noted.set()
        say(f"{words}; press Ctrl-C again to stop at once")

    signal.signal(signal.SIGINT, note)
    try:
        yield noted.is_set
    finally:
        signal.signal(signal.SIGINT, before)
