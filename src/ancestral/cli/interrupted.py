"""What was finished before Ctrl-C."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TypeVar

from ancestral.cli.output import say

T = TypeVar("T")


def finished(batches: Iterator[T]) -> tuple[list[T], bool]:
    """The batches that were finished, and whether Ctrl-C came before the last."""
    parts: list[T] = []
    try:
        for part in batches:
            parts.append(part)
    except KeyboardInterrupt:
        return parts, True
    return parts, False


@contextmanager
def noted_interrupt(words: str) -> Iterator[Callable[[], bool]]:
    """Let work end where it suits it: the first Ctrl-C is noted only, a second one interrupts.

    Args:
        words: said at the first one.

    Yields:
        whether there was one. Where Python does not handle Ctrl-C (outside the main thread, in the
        background of a shell) nothing changes. The handler that was there before, Python's own or
        that of `Interrupts`, handles the second one.
    """
    noted = threading.Event()

    before = signal.getsignal(signal.SIGINT)
    main = threading.current_thread() is threading.main_thread()
    # What is not callable, SIG_IGN of nohup say, is no handler of Python.
    if not main or not callable(before):
        yield noted.is_set
        return

    def note(number: int, frame: FrameType | None) -> None:
        if noted.is_set():
            before(number, frame)
            return
        noted.set()
        say(f"{words}; press Ctrl-C again to stop at once")

    signal.signal(signal.SIGINT, note)
    try:
        yield noted.is_set
    finally:
        signal.signal(signal.SIGINT, before)
