"""The thread that opens a bundle and draws its requests, whoever sends them."""

import contextlib
import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext

from ancestral.engine import AutoregressiveEngine, Delta, Desk, Engine, LatentEngine, Request
from ancestral.errors import BundleError, InvalidInput
from ancestral.serve import log_lines
from ancestral.serve.graphs import no_graph
from ancestral.serve.metrics import BundleMetrics
from ancestral.serve.refused import Refused, busy, failed, opening, stopping
from ancestral.serve.rows import Row, Rows, deliver
from ancestral.serve.settings import Settings

OPENINGS = 3
"""Times a minute that an engine which fails is opened anew."""
MINUTE = 60.0


class EngineThread(threading.Thread):
    """One thread for each bundle. Only it touches the slots.

    Requests wait in order of arrival. An error of the engine ends all of them at once, and the
    bundle is opened anew, at most three times a minute; until then the thread is not `ready`. If
    the first opening fails, there is no other: whoever started the server has to see why.

    Attributes:
        engine: the engine; None until it is open, and after it has failed.
        refusal: why the first opening failed.
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
        self.refusal: BaseException | None = None
        self._bundle, self._load, self._settings, self._metrics = name, load, settings, metrics
        self._changed = threading.Condition()
        self._waiting: deque[Row] = deque()
        self._drawing: dict[int, Row] = {}
        self._gone: set[Rows] = set()
        self._doubted = self._stopping = self._dropping = self._failed = False
        self._openings: deque[float] = deque(maxlen=OPENINGS)
        self._slots, self._rate, self._pause = 0, 1.0, 0.0

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
            raise failed() if self._failed else opening()
        return engine

    def submit(self, rows: Rows) -> None:
        """Put the rows of a call in line. A call that finds no other in line may be of any size.

        Raises:
            Refused: the queue is full, the engine has failed, or the server stops.
        """
        with self._changed:
            self.check()
            ahead = len(self._waiting)
            free = max(0, self._slots - len(self._drawing))
            over = ahead + len(rows.rows) - free - self._settings.queue
            if ahead and over > 0:
                raise busy(ahead, over / self._rate)
            self._waiting.extend(rows.rows)
            self._changed.notify()

    def check(self) -> None:
        """Check that a call may begin.

        Raises:
            Refused: the engine has failed, or the server stops.
        """
        if self._stopping:
            raise stopping()
        self.opened()

    def cancel(self, rows: Rows) -> None:
        """Free the slots of a call whose client has gone, and its places in line."""
        with self._changed:
            self._forget(rows)
            self._changed.notify()

    def examine(self) -> None:
        """Check the engine soon, because a call on it failed; it is opened anew if it is broken."""
        with self._changed:
            self._doubted = True
            self._changed.notify()

    def stop(self, *, drop: bool = False) -> None:
        """Refuse new calls, and end when the others have ended; with `drop`, tell them now."""
        with self._changed:
            self._stopping, self._dropping = True, self._dropping or drop
            self._changed.notify()

    def run(self) -> None:
        """Open the bundle and draw, until the server stops."""
        while not self._stopping and self.refusal is None:
            self._openings.append(time.monotonic())
            try:
                self._serve(self._load())
            except BaseException as error:  # noqa: BLE001 - whatever it is, the clients get an answer
                self._fail(error)
            # Not in the block above: the error's traceback holds the engine that failed.
            if self.refusal is None:
                self._wait_to_open()

    def _fail(self, error: BaseException) -> None:
        """Report to all clients that the engine failed."""
        was_open, first = self.engine is not None, self.engine is None and not self._failed
        # What kept the bundle from being opened may take a while to end.
        self._pause = 0.0 if was_open else MINUTE / OPENINGS
        with self._changed:
            self.engine, self._failed = None, True
        self._metrics.failed()
        self._end_all(failed())
        if first:
            self.refusal = error
            return
        error_text = log_lines.trace(error)
        log_lines.write({"event": "engine failed", "bundle": self._bundle, "error": error_text})

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
            _warm(engine, desk)
            self._slots = 0 if desk is None else desk.size
            self._metrics.slots(self._slots)
            with self._changed:
                self.engine, self._failed, self._doubted = engine, False, False
            seconds = round(time.monotonic() - self._openings[-1], 3)
            line = {"event": "engine ready", "bundle": self._bundle, "slots": self._slots}
            log_lines.write({**line, "seconds": seconds})
            while self._wait(draws=desk is not None):
                if self._doubted:
                    self._doubted = False
                    engine.check_files()
                    if desk is None or desk.idle:
                        _warm(engine, desk)
                elif desk is not None:
                    self._round(desk)
        self._end_all(stopping())

    def _wait(self, *, draws: bool) -> bool:
        """Wait for something to do; return False when the server has stopped.

        Args:
            draws: whether the engine draws requests in slots.
        """
        with self._changed:
            while True:
                idle = not self._waiting and not self._drawing
                if self._stopping and (idle or self._dropping):
                    return False
                if self._doubted or (draws and not idle):
                    return True
                self._gone.clear()
                self._changed.wait()

    def _round(self, desk: Desk) -> None:
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
        with self._changed:
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
                    self._forget(row.rows)
                except BundleError:
                    refused.append((row.rows, no_graph("the graph")))
                    self._forget(row.rows)
                else:
                    self._waiting.popleft()
        return refused

    def _forget(self, rows: Rows) -> None:
        """Take a call out of the line, and its rows out of their slots in the next round."""
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
            earliest = self._openings[-1] + self._pause
            if len(self._openings) == OPENINGS:
                earliest = max(earliest, self._openings[0] + MINUTE)
            while not self._stopping and (left := earliest - time.monotonic()) > 0:
                self._changed.wait(left)


def _warm(engine: Engine, desk: Desk | None) -> None:
    """Draw something, so that the first request of a client finds the graphs of a draw loaded."""
    if desk is None:
        assert isinstance(engine, LatentEngine)
        # Only a prior over codes has classes.
        prior = engine.prior
        engine.sample(1, 0 if prior is not None and prior.data.num_classes else None)
        return
    label = 0 if engine.data.num_classes else None
    prompt = [0] if engine.first_position else []
    desk.offer(Request(prompt, label=label, max_new=1))
    while not desk.idle:
        desk.round()


def _send(found: Sequence[tuple[Rows, tuple[int, Delta] | Exception]]) -> None:
    """Send what was found to the event loops of its calls, one call of each loop."""
    by_loop = defaultdict(list)
    for rows, each in found:
        by_loop[rows.loop].append((rows, each))
    for loop, parts in by_loop.items():
        # A loop that is closed has no client left.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(deliver, parts)
