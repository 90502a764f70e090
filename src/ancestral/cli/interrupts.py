"""Ctrl-C, also where a library swallows it."""

import signal
import sys
import threading
from types import FrameType

_AGAIN = 0.02
"""Seconds after which an interrupt that was swallowed is raised once more."""


class Interrupts:
    """The handling of Ctrl-C while a command runs; made by `main`, once in a process.

    Python raises KeyboardInterrupt wherever the main thread is. Where that is a callback of the
    garbage collector, the exception is printed and dropped; where it is the beginning of a library
    in C, it becomes an ImportError. The one is raised again, the other is told from a fault.

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
