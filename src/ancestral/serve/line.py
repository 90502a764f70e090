"""The requests of one bundle: those that wait, in order of arrival, and those in slots."""

import contextlib
import threading
import time
from collections import defaultdict, deque
from collections.abc import Sequence

from ancestral.engine import Delta, Desk
from ancestral.errors import BundleError, InvalidInput
from ancestral.serve.graphs import no_graph
from ancestral.serve.metrics import BundleMetrics
from ancestral.serve.refused import Refused, busy
from ancestral.serve.rows import Row, Rows, deliver


class Line:
    """Requests from their arrival to their end.

    Calls come from any thread; one thread draws, by `round`.

    Attributes:
        slots: number of slots; 0 until the engine is open.
    """

    def __init__(self, lock: threading.Condition, limit: int, metrics: BundleMetrics) -> None:
        """Make an empty line.

        Args:
            lock: held while the line changes.
            limit: most requests that wait, beyond those for which a slot is free.
            metrics: where it counts.
        """
        self.slots = 0
        self._lock, self._limit, self._metrics = lock, limit, metrics
        self._waiting: deque[Row] = deque()
        self._drawing: dict[int, Row] = {}
        self._gone: set[Rows] = set()
        self._rate = 1.0

    @property
    def waiting(self) -> int:
        """Number of requests that wait for a slot."""
        return len(self._waiting)

    @property
    def busy(self) -> int:
        """Number of requests in slots."""
        return len(self._drawing)

    def idle(self) -> bool:
        """Return whether nothing waits or draws; then calls that have gone are forgotten.

        The lock is held.
        """
        if self._waiting or self._drawing:
            return False
        self._gone.clear()
        return True

    def add(self, rows: Rows) -> None:
        """Put the rows of a call in line; the lock is held.

        A call that finds no other in line may be of any size.

        Raises:
            Refused: too many wait.
        """
        ahead = len(self._waiting)
        free = max(0, self.slots - len(self._drawing))
        over = ahead + len(rows.rows) - free - self._limit
        if ahead and over > 0:
            raise busy(ahead, over / self._rate)
        self._waiting.extend(rows.rows)

    def round(self, desk: Desk) -> None:
        """Admit what waits, run all rows a little, and send what they drew to their calls."""
        _send(self._admit(desk))
        rows = len(self._drawing)
        begin = time.monotonic()
        deltas = desk.round()
        now = time.monotonic()
        found = [self._drawn(delta, now) for delta in deltas]
        ended = sum(delta.ended is not None for delta in deltas)
        self._rate += 0.05 * (ended / max(now - begin, 1e-6) - self._rate)
        self._rate = max(self._rate, 0.01)
        if rows:
            self._metrics.round(rows, sum(len(delta.values) for delta in deltas))
        _send(found)

    def _admit(self, desk: Desk) -> list[tuple[Rows, Exception]]:
        """Free the slots of calls whose clients have gone, and fill slots with what waits.

        Returns:
            The calls with a request that does not fit the model or the bundle.
        """
        refused: list[tuple[Rows, Exception]] = []
        with self._lock:
            gone, self._gone = self._gone, set()
            for number, row in self._drawing.items():
                if row.rows in gone:
                    desk.cancel(number)
            while self._waiting and desk.room > 0:
                # The row leaves the line last: whatever `offer` raises, its client gets an answer.
                row = self._waiting[0]
                try:
                    self._drawing[desk.offer(row.request)] = row
                except InvalidInput as error:
                    # Its cause does not name the request by its number at the desk.
                    refused.append((row.rows, InvalidInput(str(error.__cause__ or error))))
                    self.forget(row.rows)
                except BundleError:
                    refused.append((row.rows, no_graph("the graph")))
                    self.forget(row.rows)
                else:
                    self._waiting.popleft()
        return refused

    def forget(self, rows: Rows) -> None:
        """Take a call out of the line, and its rows out of their slots in the next round.

        The lock is held.
        """
        self._waiting = deque(row for row in self._waiting if row.rows is not rows)
        self._gone.add(rows)

    def _drawn(self, delta: Delta, now: float) -> tuple[Rows, tuple[int, Delta]]:
        """Return where a delta goes, and count the time that it took."""
        row = self._drawing[delta.request]
        if delta.ended is not None:
            del self._drawing[delta.request]
        if len(delta.values):
            self._metrics.drew(now - row.since, len(delta.values), first=not row.begun)
            row.begun, row.since = True, now
        return row.rows, (row.place, delta)

    def end_all(self, error: Refused) -> None:
        """End every request with an error."""
        with self._lock:
            every = {row.rows for row in (*self._waiting, *self._drawing.values())}
            self._waiting.clear()
            self._drawing.clear()
            self._gone.clear()
        _send([(rows, error) for rows in every])


def _send(found: Sequence[tuple[Rows, tuple[int, Delta] | Exception]]) -> None:
    """Send what was found to the event loops of its calls, one call of each loop."""
    by_loop = defaultdict(list)
    for rows, each in found:
        by_loop[rows.loop].append((rows, each))
    for loop, parts in by_loop.items():
        # A loop that is closed has no client left.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(deliver, parts)
