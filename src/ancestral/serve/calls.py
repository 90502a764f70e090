"""Calls of an engine other than draws in slots: one thread for each bundle, and a bounded queue."""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from ancestral.errors import InvalidInput
from ancestral.serve.engine_thread import EngineThread
from ancestral.serve.refused import Refused, busy, failed

T = TypeVar("T")
Report = Callable[[int, int], None]
"""Called as `report(done, total)`; it raises `Gone` when nobody waits for the result."""


class Gone(Exception):
    """The client has gone, or the time is over."""


class Calls:
    """The calls of one bundle, one after another, in a thread of their own."""

    def __init__(self, name: str, thread: EngineThread, limit: int) -> None:
        """Create the thread.

        Args:
            name: name of the bundle.
            thread: thread of its engine; an error of a call lets it open the engine anew.
            limit: most calls that wait.
        """
        self._pool = ThreadPoolExecutor(1, thread_name_prefix=f"calls {name}")
        self._thread, self._limit, self._pending = thread, limit, 0

    @property
    def pending(self) -> int:
        """Number of calls that run or wait."""
        return self._pending

    async def run(self, call: Callable[[Report], T], progress: Report | None = None) -> T:
        """Run a call when those before it are done, and return its result.

        If the task is cancelled, the call ends at its next report.

        Args:
            call: function of a report, which it passes on as the engine's `progress`.
            progress: called with each report, in the event loop.

        Raises:
            Refused: too many calls wait, or the engine failed.
            InvalidInput: the call refused its arguments.
        """
        self._thread.check()
        if self._pending > self._limit:
            raise busy(self._pending, self._pending)
        loop, gone = asyncio.get_running_loop(), threading.Event()

        def report(done: int, total: int) -> None:
            if gone.is_set():
                raise Gone
            if progress is not None:
                loop.call_soon_threadsafe(progress, done, total)

        def guarded() -> T:
            if gone.is_set():
                raise Gone
            return call(report)

        self._pending += 1
        running = loop.run_in_executor(self._pool, guarded)
        running.add_done_callback(self._done)
        try:
            return await asyncio.shield(running)
        except asyncio.CancelledError:
            gone.set()
            raise
        except (InvalidInput, Refused):
            raise
        except Exception as error:
            self._thread.report(error)
            raise failed() from error

    def _done(self, running: "asyncio.Future[T]") -> None:
        self._pending -= 1
        if not running.cancelled():
            # Read, so that an error that nobody waits for is not logged.
            running.exception()

    def stop(self) -> None:
        """End the thread; calls that wait are dropped."""
        self._pool.shutdown(wait=False, cancel_futures=True)
