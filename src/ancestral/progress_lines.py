"""How far a long piece of work is, as plain lines on standard error: for logs and pipes."""

import contextlib
import sys
import threading
import time
from collections.abc import Callable
from types import TracebackType

INTERVAL = 10.0
"""Seconds between two lines at most."""


class ProgressLines:
    """Whole lines at regular intervals, also while a single step takes long; a context manager.

    Lines look like "sampling: 120/3000, 4 %, 20 s, 8 min left". Nothing is written of work that
    ends within the interval.
    """

    def __init__(
        self,
        name: str,
        interval: float = INTERVAL,
        clock: Callable[[], float] = time.monotonic,
        write: Callable[[str], None] | None = None,
    ) -> None:
        """Begin to count the time.

        Args:
            name: of the work.
            interval: seconds between two lines at most.
            clock: gives the seconds.
            write: writes a line; to standard error where None.
        """
        self.name, self._interval, self._clock = name, interval, clock
        self._write = write_line if write is None else write
        self._lock, self._ended = threading.Lock(), threading.Event()
        self._thread = threading.Thread(target=self._repeat, daemon=True)
        self._begun = self._last = clock()
        self._first: tuple[float, int] | None = None
        self._done, self._total, self._words = 0, 0, ""

    def __enter__(self) -> "ProgressLines":
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._ended.set()
        self._thread.join()

    def __call__(self, done: int, total: int, words: str | None = None) -> None:
        """Note how far the work is, and say it where it is time to.

        Args:
            done: of the work.
            total: the same when all is done.
            words: what else the lines say from now on; as before where None.
        """
        with self._lock:
            self._done, self._total = done, total
            if words is not None:
                self._words = words
            if self._first is None:
                self._first = (self._clock(), done)
            self._say(always=False)

    def at(self, words: str) -> None:
        """Note what is being done, of work that has no count."""
        with self._lock:
            self._words = words

    def say(self) -> None:
        """Write the line now."""
        with self._lock:
            self._say(always=True)

    def tick(self) -> float:
        """Write the line where it is time to; seconds until it is again."""
        with self._lock:
            self._say(always=False)
            return self._last + self._interval - self._clock()

    def _say(self, always: bool) -> None:
        now = self._clock()
        if always or now - self._last >= self._interval:
            self._last = now
            # A closed standard error ends the lines, not the work.
            with contextlib.suppress(OSError, ValueError):
                self._write(self._line(now))

    def _line(self, now: float) -> str:
        parts = []
        if self._total:
            parts.append(f"{self._done}/{self._total}, {100 * self._done // self._total} %")
        parts.append(duration(now - self._begun))
        left = self._left(now)
        if left is not None:
            parts.append(f"{duration(left)} left")
        if self._words:
            parts.append(self._words)
        return f"{self.name}: {', '.join(parts)}"

    def _left(self, now: float) -> float | None:
        """Seconds to the end, at the pace since the first call; None where there is no pace yet."""
        if self._first is None or self._done <= self._first[1] or self._done >= self._total:
            return None
        pace = (now - self._first[0]) / (self._done - self._first[1])
        return pace * (self._total - self._done)

    def _repeat(self) -> None:
        pause = self._interval
        while not self._ended.wait(max(pause, 0.01)):
            pause = self.tick()


def write_line(line: str) -> None:
    """Write a line to standard error, whole and at once."""
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


def duration(seconds: float) -> str:
    """Seconds in words: 45 s, 12 min, 3 h 20 min."""
    whole = round(seconds)
    if whole < 120:
        return f"{whole} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"


def has_bars() -> bool:
    """Whether standard error is a terminal that can show a bar."""
    from rich.console import Console

    return sys.stderr.isatty() and not Console(stderr=True).is_dumb_terminal
