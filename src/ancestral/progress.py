"""Progress of long work on standard error: a bar on a terminal, plain lines elsewhere."""

import contextlib
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

INTERVAL = 10.0
"""Most seconds between two lines."""


class ProgressLines:
    """Context manager that writes whole lines at regular intervals, even during a single long step.

    A line looks like "sampling: 120/3000, 4 %, 20 s, 8 min left". Work that ends within the
    interval writes nothing.
    """

    def __init__(
        self,
        name: str,
        interval: float = INTERVAL,
        clock: Callable[[], float] = time.monotonic,
        write: Callable[[str], None] | None = None,
    ) -> None:
        """Start the clock.

        Args:
            name: name of the work.
            interval: most seconds between two lines.
            clock: function that returns the time in seconds.
            write: function that writes a line; `None` writes to standard error.
        """
        self.name, self._interval, self._clock = name, interval, clock
        self._write = write_line if write is None else write
        self._lock, self._ended = threading.RLock(), threading.Event()
        self._thread = threading.Thread(target=self._repeat, daemon=True)
        self._begun = self._last = clock()
        self._first: tuple[float, int] | None = None
        self._done, self._total, self._words = 0, 0, ""

    def __enter__(self) -> "ProgressLines":
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._ended.set()
        self._thread.join()

    def __call__(self, done: int, total: int, words: str | None = None) -> None:
        """Update the progress, and write a line if it is due.

        Args:
            done: amount of work done so far.
            total: amount of all work; 0 if it is not known.
            words: text at the end of the lines from now on; `None` keeps the last one.
        """
        with self._lock:
            self._done, self._total = done, total
            if words is not None:
                self._words = words
            if self._first is None:
                self._first = (self._clock(), done)
        self.tick()

    def at(self, words: str) -> None:
        """Set the name of the current stage, for work without a count."""
        with self._lock:
            self._words = words

    def say(self) -> None:
        """Write a line now."""
        with self._lock:
            self._last = self._clock()
            # If standard error is closed, the work continues without progress lines.
            with contextlib.suppress(OSError, ValueError):
                self._write(self._line(self._last))

    def tick(self) -> float:
        """Write a line if it is due; return the seconds until the next one."""
        with self._lock:
            if self._clock() - self._last >= self._interval:
                self.say()
            return self._last + self._interval - self._clock()

    def _line(self, now: float) -> str:
        parts = []
        if self._total:
            parts.append(f"{self._done}/{self._total}, {100 * self._done // self._total} %")
        parts.append(duration(now - self._begun))
        left = self._left(now)
        if left is not None:
            parts.append(f"{duration(left)} left")
        if self._words:
            parts.append(self._words.replace("\n", ", "))
        return f"{self.name}: {', '.join(parts)}"

    def _left(self, now: float) -> float | None:
        """Return the seconds left at the pace since the first call, or None if there is no pace."""
        if self._first is None or self._done <= self._first[1] or self._done >= self._total:
            return None
        pace = (now - self._first[0]) / (self._done - self._first[1])
        return pace * (self._total - self._done)

    def _repeat(self) -> None:
        pause = self._interval
        while not self._ended.wait(max(pause, 0.01)):
            pause = self.tick()


def write_line(line: str) -> None:
    """Write a whole line to standard error and flush it."""
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


def duration(seconds: float) -> str:
    """Format a number of seconds: 45 s, 12 min, 3 h 20 min."""
    whole = round(seconds)
    if whole < 120:
        return f"{whole} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"


@contextmanager
def progress_bar(what: str, *, keep: bool = False) -> Iterator[Callable[..., None]]:
    """Show the progress of some work: a bar on a terminal, or a line every 10 s elsewhere.

    The function that it yields takes the count, the total (0 if it is not known) and a text for the
    end of the line; without a text the last one stays.

    Args:
        what: name of the work.
        keep: whether the bar stays after the work has ended; without a terminal, whether to write a
            last line.
    """
    from rich.console import Console

    console = Console(stderr=True)
    if not sys.stderr.isatty() or console.is_dumb_terminal:
        with ProgressLines(what) as lines:
            try:
                yield lines
            finally:
                if keep:
                    lines.say()
        return
    from rich import progress

    columns = (
        progress.TextColumn("{task.description}"),
        progress.BarColumn(),
        progress.MofNCompleteColumn(),
        progress.TimeRemainingColumn(),
        progress.TextColumn("{task.fields[words]}"),
    )
    with progress.Progress(*columns, console=console, transient=not keep) as bar:
        task = bar.add_task(what, total=None, words="")

        def show(done: int, total: int, words: str | None = None) -> None:
            bar.update(task, completed=done, total=total or None)
            if words is not None:
                bar.update(task, words=words)

        yield show


@contextmanager
def stages(what: str) -> Iterator[Callable[[str], None]]:
    """Show the current stage every 10 s; call the function that it yields with the stage's name."""
    with ProgressLines(what) as lines:
        yield lines.at
