"""The thread that opens a bundle and draws its requests, whoever sends them."""

import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

from ancestral.engine import AutoregressiveEngine, Delta, Desk, Engine, Request
from ancestral.errors import InvalidInput
from ancestral.serve.metrics import BundleMetrics
from ancestral.serve.refused import Refused, busy, failed, stopping
from ancestral.serve.rows import Row, Rows, deliver
from ancestral.serve.settings import Settings

OPENINGS = 3
"""Times a minute that an engine which fails is opened anew."""
MINUTE = 60.0


class EngineThread(threading.Thread):
    """One thread for each bundle. It alone touches the slots.

    Requests wait in order of arrival. An error of the engine ends all of them at once, and the
    bundle is opened anew, at most three times a minute; until then the thread is not `ready`.

    Attributes:
        engine: the engine; None until it is open, and after it has failed.
    """

    def __init__(
        self, name: str, load: Callable[[], Engine], settings: Settings, metrics: BundleMetrics
    ) -> None:
        """Prepare the thread; `start` opens the bundle.

        Args:
            name: name of the bundle.
            load: function that opens the engine.
            settings: limits of the server.
            metrics: where it counts.
        """
        super().__init__(name=f"engine {name}", daemon=True)
        self.engine: Engine | None = None
        self._load, self._settings, self._metrics = load, settings, metrics
        self._changed = threading.Condition()
        self._waiting: deque[Row] = deque()
        self._drawing: dict[int, Row] = {}
        self._gone: set[Rows] = set()
        self._error: Exception | None = None
        self._stopping = self._dropping = self._failed = False
        self._openings: deque[float] = deque(maxlen=OPENINGS)
        self._rate = 1.0

    @property
    def ready(self) -> bool:
        """Whether the engine is open and has made a step."""
        return self.engine is not None

    @property
    def state(self) -> str:
        """What the engine does: "ready", "opening", "failed" or "stopping"."""
        if self._stopping:
            return "stopping"
        if self.ready:
            return "ready"
        return "failed" if self._failed else "opening"

    @property
    def waiting(self) -> int:
        """Number of requests that wait for a slot."""
        return len(self._waiting)

    @property
    def busy(self) -> int:
        """Number of requests in slots."""
        return len(self._drawing)

    def opened(self) -> Engine:
        """Return the engine.

        Raises:
            Refused: it is not open.
        """
        engine = self.engine
        if engine is None:
            raise failed()
        return engine

    def submit(self, rows: Rows) -> None:
        """Put the rows of a call in line.

        Raises:
            Refused: the queue is full, the engine has failed, or the server stops.
        """
        with self._changed:
            self.check()
            self._waiting.extend(rows.rows)
            self._changed.notify()

    def check(self) -> None:
        """Check that a call may begin.

        Raises:
            Refused: the queue is full, the engine has failed, or the server stops.
        """
        if self._stopping:
            raise stopping()
        self.opened()
        if len(self._waiting) >= self._settings.queue:
            raise busy(len(self._waiting), len(self._waiting) / self._rate)

    def cancel(self, rows: Rows) -> None:
        """Free the slots of a call whose client has gone."""
        with self._changed:
            self._gone.add(rows)
            self._changed.notify()

    def report(self, error: Exception) -> None:
        """Let the engine be opened anew, because a call on it failed."""
        with self._changed:
            self._error = error
            self._changed.notify()

    def stop(self, *, drop: bool = False) -> None:
        """Refuse new calls, and end when the others have ended; with `drop`, tell them now."""
        with self._changed:
            self._stopping, self._dropping = True, self._dropping or drop
            self._changed.notify()

    def run(self) -> None:
        """Open the bundle and draw, until the server stops."""
        while not self._stopping:
            self._openings.append(time.monotonic())
            try:
                self._serve(self._load())
            except Exception as error:  # noqa: BLE001 - whatever it is, the clients are told
                self.engine, self._failed = None, True
                self._metrics.failed(error)
                self._end_all(failed())
                self._wait_to_open()

    def _serve(self, engine: Engine) -> None:
        """Draw on an engine until the server stops.

        Raises:
            AncestralError: the engine failed.
        """
        desk = None
        lease: AbstractContextManager[object] = nullcontext()
        if isinstance(engine, AutoregressiveEngine):
            options = self._settings
            desk = engine.desk(options.slots, prefix_memory=options.prefix_memory)
            lease = desk.lease
        with lease:
            if desk is not None:
                _warm(engine, desk)
                self._metrics.slots(desk.size)
            self.engine, self._failed = engine, False
            while self._wait(desk):
                if desk is not None:
                    self._round(desk)
        self._end_all(stopping())

    def _wait(self, desk: Desk | None) -> bool:
        """Wait for something to do; return False when the server has stopped."""
        with self._changed:
            while True:
                if self._error is not None:
                    error, self._error = self._error, None
                    raise error
                idle = not self._waiting and not self._drawing
                if self._stopping and (idle or self._dropping):
                    return False
                if desk is not None and not idle:
                    return True
                self._gone.clear()
                self._changed.wait()

    def _round(self, desk: Desk) -> None:
        """Admit what waits, run all rows a little, and send what they drew to their calls."""
        found: list[tuple[Rows, tuple[int, Delta] | Exception]] = []
        with self._changed:
            gone, self._gone = self._gone, set()
            if gone:
                self._waiting = deque(row for row in self._waiting if row.rows not in gone)
            for number, row in self._drawing.items():
                if row.rows in gone:
                    desk.cancel(number)
            while self._waiting and desk.room > 0:
                row = self._waiting.popleft()
                try:
                    row.number = desk.offer(row.request)
                except InvalidInput as error:
                    found.append((row.rows, error))
                    self._gone.add(row.rows)
                else:
                    self._drawing[row.number] = row
        rows = len(self._drawing)
        begin = time.monotonic()
        deltas = desk.round()
        now = time.monotonic()
        for delta in deltas:
            found.append(self._drawn(delta, now))
        ended = sum(delta.ended is not None for delta in deltas)
        self._rate += 0.05 * (ended / max(now - begin, 1e-6) - self._rate)
        self._rate = max(self._rate, 0.01)
        self._metrics.round(rows, sum(len(delta.values) for delta in deltas))
        _send(found)

    def _drawn(self, delta: Delta, now: float) -> tuple[Rows, tuple[int, Delta]]:
        """Return where a delta goes, and count the time that it took."""
        row = self._drawing[delta.request]
        if delta.ended is not None:
            del self._drawing[delta.request]
        if len(delta.values):
            self._metrics.drew(now - row.since, len(delta.values), first=not row.begun)
            row.begun, row.since = True, now
        return row.rows, (row.place, delta)

    def _end_all(self, error: Refused) -> None:
        """End every request with an error."""
        with self._changed:
            every = {row.rows for row in (*self._waiting, *self._drawing.values())}
            self._waiting.clear()
            self._drawing.clear()
            self._gone.clear()
        _send([(rows, error) for rows in every])

    def _wait_to_open(self) -> None:
        """Wait until the engine may be opened again, or the server stops."""
        with self._changed:
            self._error = None
            while not self._stopping and len(self._openings) == OPENINGS:
                left = self._openings[0] + MINUTE - time.monotonic()
                if left <= 0:
                    break
                self._changed.wait(left)


def _warm(engine: AutoregressiveEngine, desk: Desk) -> None:
    """Draw one value, so that the first request of a client finds all graphs loaded."""
    label = 0 if engine.data.num_classes else None
    prompt = [0] if engine.first_position else []
    desk.offer(Request(prompt, label=label, max_new=1))
    while not desk.idle:
        desk.round()


def _send(found: list[tuple[Rows, tuple[int, Delta] | Exception]]) -> None:
    """Send what was found to the event loops of its calls, one call of each loop."""
    by_loop = defaultdict(list)
    for rows, each in found:
        by_loop[rows.loop].append((rows, each))
    for loop, parts in by_loop.items():
        # A loop that is closed has no client left.
        if not loop.is_closed():
            loop.call_soon_threadsafe(deliver, parts)
