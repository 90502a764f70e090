"""How far a call is, as its caller is told."""

from collections.abc import Callable

Progress = Callable[[int, int], None]
"""Called with how many positions of how many are done."""


class Tally:
    """Counts what is done, and calls a user's function, if there is one, each time."""

    def __init__(self, progress: Progress | None, total: int) -> None:
        self._progress, self._total, self._done = progress, total, 0

    def add(self, done: int) -> None:
        """So many more are done."""
        self._done += done
        if self._progress is not None:
            self._progress(self._done, self._total)
