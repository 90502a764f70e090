"""Ctrl-C: it counts where a library swallows it, and what was finished before it is kept."""

import contextlib
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import TypeVar

from ancestral.cli.output import say

T = TypeVar("T")

_AGAIN = 0.02
"""Seconds after which an interrupt that was swallowed is raised once more."""


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
