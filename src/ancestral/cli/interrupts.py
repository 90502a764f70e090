"""Ctrl-C: it works even where a library swallows it, and finished work is kept."""

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
"""Seconds after which a swallowed interrupt is raised again."""


class Interrupts:
    """Handler of Ctrl-C while a command runs; `main` makes one per process.

    Python raises KeyboardInterrupt wherever the main thread is. Inside a callback of the garbage
    collector the exception is printed and dropped; while a C extension is being imported it becomes
    an ImportError. With this handler both end the command, as Ctrl-C does anywhere else.

    Attributes:
        seen: whether Ctrl-C was pressed.
    """

    def __init__(self) -> None:
        self.seen = False

    def install(self) -> None:
        """Replace Python's own handler; an ignored signal (nohup) stays ignored."""
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
        # An exception raised in this hook would be dropped too.
        main = threading.main_thread().ident
        assert main is not None
        again = threading.Timer(_AGAIN, signal.pthread_kill, (main, signal.SIGINT))
        again.daemon = True
        again.start()


def finished(batches: Iterator[T]) -> tuple[list[T], bool]:
    """Return the batches that were finished, and whether Ctrl-C came before the last one."""
    parts: list[T] = []
    try:
        for part in batches:
            parts.append(part)
    except KeyboardInterrupt:
        return parts, True
    return parts, False


@contextlib.contextmanager
def noted_interrupt(words: str) -> Iterator[Callable[[], bool]]:
    """Record the first Ctrl-C, so that work can stop at a suitable point; a second one interrupts.

    Args:
        words: the message printed at the first Ctrl-C.

    Yields:
        A function that returns whether Ctrl-C was pressed. If neither Python nor `Interrupts`
        handles Ctrl-C (outside the main thread, in the background of a shell), nothing changes.
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
        say(f"{words}; press Ctrl-C again to stop immediately")

    signal.signal(signal.SIGINT, note)
    try:
        yield noted.is_set
    finally:
        signal.signal(signal.SIGINT, before)
