"""Signals that end a process wait until a file has been written."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

_ENDING = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def deferred() -> Iterator[None]:
    """Hold back Ctrl-C and SIGTERM, and raise them again when the context ends.

    Otherwise an exception could come between the creation of a temporary file and the code that
    removes it. Outside the main thread nothing changes, because handlers run in the main thread.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    noted: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        noted.append(number)

    before: dict[signal.Signals, Any] = {}
    try:
        for number in _ENDING:
            # A handler that is not Python's own or ours, or that ignores the signal, is kept.
            if callable(signal.getsignal(number)):
                before[number] = signal.signal(number, note)
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        for seen in noted:
            signal.raise_signal(seen)
