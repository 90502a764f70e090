"""Requests drawn on the thread of an engine, in the event loop of a test."""

import contextlib
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ancestral.engine import Delta, Request
from ancestral.serve.engine_thread import EngineThread
from ancestral.serve.metrics import Metrics
from ancestral.serve.rows import Rows
from ancestral.serve.served import Served
from ancestral.serve.settings import Settings

SECONDS = 60.0
"""Time after which something that waits has failed."""


@dataclass(slots=True)
class Drawn:
    """What a request drew.

    Attributes:
        values: its values.
        log_p: their log-probabilities, in nats.
        text: its text.
        ended: why it ended.
    """

    values: list[int] = field(default_factory=list)
    log_p: list[float] = field(default_factory=list)
    text: str = ""
    ended: str | None = None

    def add(self, delta: Delta) -> None:
        """Add a delta."""
        self.values += delta.values.tolist()
        self.log_p += delta.log_p.tolist()
        self.text += delta.text or ""
        self.ended = delta.ended


async def draw(thread: EngineThread, *requests: Request) -> list[Drawn]:
    """Draw requests in slots, as a route does."""
    rows = Rows(requests)
    thread.submit(rows)
    drawn = [Drawn() for _ in requests]
    try:
        async for place, delta in rows:
            drawn[place].add(delta)
    finally:
        thread.cancel(rows)
    return drawn


async def first_delta(thread: EngineThread, request: Request) -> Rows:
    """Return the rows of a request that has a slot."""
    rows = Rows([request])
    thread.submit(rows)
    await anext(rows)
    return rows


@contextlib.contextmanager
def opened(bundle: Path, metrics: Metrics | None = None, **settings: Any) -> Iterator[Served]:
    """Open a bundle, with its thread, and stop the thread at the end of the block."""
    served = Served.open(bundle, Settings(threads=1, **settings), metrics or Metrics())
    served.thread.start()
    try:
        until(lambda: served.thread.ready or served.thread.refusal is not None)
        assert served.thread.refusal is None
        yield served
    finally:
        served.stop(drop=True)
        served.thread.join(SECONDS)
        assert not served.thread.is_alive()


def until(reached: Any, seconds: float = SECONDS) -> None:
    """Wait until a function returns something true."""
    end = time.monotonic() + seconds
    while not reached():
        assert time.monotonic() < end, "this did not happen"
        time.sleep(0.002)


def same(drawn: Drawn, values: Any, log_p: Any) -> None:
    """Check what a request drew against the results of a call of the engine."""
    assert drawn.values == np.ravel(values).tolist()
    np.testing.assert_allclose(drawn.log_p, np.ravel(log_p), rtol=0, atol=2e-5)


def names() -> list[str]:
    """Return the names of the threads that run."""
    return sorted(thread.name for thread in threading.enumerate())
