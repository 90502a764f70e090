"""The thread that opens a bundle and draws its requests, whoever sends them."""

import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

from ancestral.engine import AutoregressiveEngine, Desk, Engine, LatentEngine, Request
from ancestral.serve import log_lines
from ancestral.serve.line import Line
from ancestral.serve.metrics import BundleMetrics
from ancestral.serve.refused import failed, opening, stopping
from ancestral.serve.rows import Rows
from ancestral.serve.settings import Settings

OPENINGS = 3
"""Times a minute that an engine which fails is opened anew."""
MINUTE = 60.0


class EngineThread(threading.Thread):
    """One thread for each bundle. Only it touches the slots.

    Requests wait in order of arrival. An error of the engine ends all of them at once, and the
    bundle is opened anew, at most three times a minute; until then the thread is not `ready`. If
    the first opening fails, the thread ends, so that the process can report why.

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
        self._line = Line(self._changed, settings.queue, metrics)
        self._doubted = self._stopping = self._dropping = self._failed = False
        self._openings: deque[float] = deque(maxlen=OPENINGS)
        self._pause = 0.0

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
        return self._line.waiting

    @property
    def busy(self) -> int:
        """Number of requests in slots."""
        return self._line.busy

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
            self._line.add(rows)
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
            self._line.forget(rows)
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
        self._line.end_all(failed())
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
            slots = self._line.slots = 0 if desk is None else desk.size
            self._metrics.slots(slots)
            with self._changed:
                self.engine, self._failed, self._doubted = engine, False, False
            seconds = round(time.monotonic() - self._openings[-1], 3)
            line = {"event": "engine ready", "bundle": self._bundle, "slots": slots}
            log_lines.write({**line, "seconds": seconds})
            while self._wait(draws=desk is not None):
                if self._doubted:
                    self._doubted = False
                    engine.check_files()
                    if desk is None or desk.idle:
                        _warm(engine, desk)
                elif desk is not None:
                    self._line.round(desk)
        self._line.end_all(stopping())

    def _wait(self, *, draws: bool) -> bool:
        """Wait for something to do; return False when the server has stopped.

        Args:
            draws: whether the engine draws requests in slots.
        """
        with self._changed:
            while True:
                idle = self._line.idle()
                if self._stopping and (idle or self._dropping):
                    return False
                if self._doubted or (draws and not idle):
                    return True
                self._changed.wait()

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
