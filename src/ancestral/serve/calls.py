"""Calls of an engine other than draws in slots: one thread for each bundle, and a bounded queue."""

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

from ancestral.errors import BundleError, InvalidInput, NotADistribution
from ancestral.serve.engine_thread import EngineThread
from ancestral.serve.refused import Refused, busy, failed, stopping

T = TypeVar("T")
Report = Callable[[int, int], None]
"""Called as `report(done, total)`; it raises `Gone` when no client waits for the result."""


class Gone(Exception):
    """The client has gone, or the time is over."""


@dataclass(frozen=True, slots=True, eq=False)
class _Pending:
    """A call that runs or waits.

    Attributes:
        loop: event loop of its client.
        stopped: done when the client gets the answer that the server stops.
        gone: set when no client waits for the result.
    """

    loop: asyncio.AbstractEventLoop
    stopped: "asyncio.Future[None]"
    gone: threading.Event

    def stop(self) -> None:
        """Tell the client that the server stops, and end the call at its next report."""
        self.gone.set()
        # A loop that is closed has no client left.
        with contextlib.suppress(RuntimeError):
            self.loop.call_soon_threadsafe(self._tell)

    def _tell(self) -> None:
        if not self.stopped.done():
            self.stopped.set_result(None)


class Calls:
    """The calls of one bundle, one after another, in a thread of their own."""

    def __init__(self, name: str, thread: EngineThread, limit: int) -> None:
        """Create the thread.

        Args:
            name: name of the bundle.
            thread: thread of its engine; it checks the engine when a call failed.
            limit: most calls that wait.
        """
        self._pool = ThreadPoolExecutor(1, thread_name_prefix=f"calls {name}")
        self._thread, self._limit = thread, limit
        self._pending: set[_Pending] = set()
        self._running = 0
        self._seconds = 1.0
        self._stopping = False

    @property
    def pending(self) -> int:
        """Number of calls that run or wait."""
        return self._running

    async def run(self, call: Callable[[Report], T], progress: Report | None = None) -> T:
        """Run a call when those before it are done, and return its result.

        If the task is cancelled, the call ends at its next report.

        Args:
            call: function of a report, which it passes on as the engine's `progress`.
            progress: called with each report, in the event loop.

        Raises:
            Refused: too many calls wait, the engine failed, the model gave NaN for these
                arguments, or the server stops.
            InvalidInput: the call refused its arguments.
        """
        self._thread.check()
        if self._stopping:
            raise stopping()
        if self._running > self._limit:
            raise busy(self._running, self._seconds)
        loop, gone = asyncio.get_running_loop(), threading.Event()
        pending = _Pending(loop, loop.create_future(), gone)

        def report(done: int, total: int) -> None:
            if gone.is_set():
                raise Gone
            if progress is not None:
                loop.call_soon_threadsafe(progress, done, total)

        def timed() -> T:
            if gone.is_set():
                raise Gone
            begin = time.monotonic()
            try:
                return call(report)
            finally:
                self._seconds += 0.2 * (time.monotonic() - begin - self._seconds)

        self._pending.add(pending)
        self._running += 1
        running = loop.run_in_executor(self._pool, timed)
        running.add_done_callback(self._done)
        either: set[asyncio.Future[Any]] = {running, pending.stopped}
        try:
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            if not running.done():
                raise stopping()
            return self._result(running)
        finally:
            gone.set()
            self._pending.discard(pending)

    def _result(self, running: "asyncio.Future[T]") -> T:
        """Return the result of a call that has ended.

        Raises:
            Refused: the call failed, and the client gets a reason.
        """
        if running.cancelled():
            raise stopping()
        try:
            return running.result()
        except (InvalidInput, Refused):
            raise
        except Gone:
            raise stopping() from None
        except NotADistribution as error:
            raise Refused(400, str(error), code="not_a_distribution") from error
        except MemoryError as error:
            raise Refused(
                503, "not enough memory for this call; send less at a time", code="out_of_memory"
            ) from error
        except Exception as error:
            self._thread.examine()
            if isinstance(error, BundleError):
                raise failed() from error
            raise

    def _done(self, running: "asyncio.Future[T]") -> None:
        self._running -= 1
        if not running.cancelled():
            # Read, so that an error without a client is not logged.
            running.exception()

    def stop(self) -> None:
        """Tell the clients of all calls that the server stops; the running one ends soon."""
        self._stopping = True
        for pending in tuple(self._pending):
            pending.stop()
        self._pool.shutdown(wait=False, cancel_futures=True)
