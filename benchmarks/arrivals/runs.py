"""Timed runs of a workload: the stream when all requests are there, as they arrive, and batches."""

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ancestral.engine import AutoregressiveEngine, Counts, Delta
from ancestral.engine.request import Request
from benchmarks.arrivals.trace import Heard, Trace
from benchmarks.arrivals.workload import Workload


@dataclass(frozen=True, slots=True)
class Drawn:
    """What a request drew.

    Attributes:
        values: new values, [m].
        log_p: log p(x_t | x_<t) of these values, in nats, [m].
    """

    values: NDArray[np.int64]
    log_p: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Run:
    """A run of the stream: its trace, and what each request drew."""

    trace: Trace
    drawn: tuple[Drawn, ...]


class _Reader:
    """What is noted of each delta as it is read."""

    def __init__(self) -> None:
        self._start = time.perf_counter()
        self._read: list[tuple[float, int, Delta]] = []

    @property
    def now(self) -> float:
        """Seconds since the start."""
        return time.perf_counter() - self._start

    def note(self, delta: Delta, counts: Counts) -> None:
        self._read.append((self.now, counts.values, delta))

    def run(self, slots: int, arrived: NDArray[np.float64]) -> Run:
        """Return the run whose deltas were read."""
        heard = tuple(
            Heard(delta.request, at, len(delta.values), delta.ended is not None, total)
            for at, total, delta in self._read
        )
        parts: list[list[Delta]] = [[] for _ in arrived]
        for _, _, delta in self._read:
            parts[delta.request].append(delta)
        drawn = tuple(
            Drawn(
                np.concatenate([part.values for part in each]),
                np.concatenate([part.log_p for part in each]),
            )
            for each in parts
        )
        return Run(Trace(slots, arrived, heard), drawn)


def at_once(engine: AutoregressiveEngine, workload: Workload, slots: int) -> Run:
    """Run a workload whose requests are all there at the start."""
    reader = _Reader()
    with engine.stream(iter(workload.requests), slots) as stream:
        for delta in stream:
            reader.note(delta, stream.counts)
    return reader.run(slots, workload.arrivals(None))


def arriving(engine: AutoregressiveEngine, workload: Workload, slots: int, rate: float) -> Run:
    """Run a workload whose requests arrive at a rate, per second, whatever the stream does."""
    arrivals = workload.arrivals(rate)

    async def run() -> Run:
        reader = _Reader()

        async def source() -> AsyncIterator[Request]:
            for request, at in zip(workload.requests, arrivals, strict=True):
                if reader.now < at:
                    await asyncio.sleep(at - reader.now)
                yield request

        async with engine.astream(source(), slots) as stream:
            async for delta in stream:
                reader.note(delta, stream.counts)
        return reader.run(slots, arrivals)

    return asyncio.run(run())


def in_batches(
    engine: AutoregressiveEngine, workload: Workload, slots: int
) -> tuple[float, tuple[Drawn, ...]]:
    """Draw a workload in batches, each of which runs until its last row ends.

    Returns:
        The seconds of all batches, and what each request drew; later values of its row are not
        counted.
    """
    drawn: list[Drawn] = []
    begin = time.perf_counter()
    for first in range(0, len(workload.requests), slots):
        some = workload.requests[first : first + slots]
        rows = engine.generate(
            [request.prompt for request in some],
            int(workload.new[first : first + slots].max()),
            stop=(),
            seed=some[0].seed,
            first_index=first,
            batch=slots,
        )
        drawn += [
            Drawn(row.tokens[: request.max_new], row.log_p[: request.max_new])
            for row, request in zip(rows, some, strict=True)
        ]
    return time.perf_counter() - begin, tuple(drawn)
