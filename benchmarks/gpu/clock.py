"""Timing on a device: alternating sides, many calls in one CUDA graph, a flushed L2 cache.

A kernel of a few microseconds ends before the host has launched the next one; in a graph it runs as
in the decode loop. On a CPU, for rehearsals, calls run one by one and the host's clock times them.
"""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from torch import Tensor

from benchmarks.rows import Rounds

T = TypeVar("T")
MOST_SETS = 64
"""Largest number of input sets to alternate between."""
LEAST_CALLS = 8
"""Smallest number of calls in a graph."""
_FLUSH_BYTES = 2**29
"""Bytes written before each round: more than any L2 cache; meanwhile the host runs ahead."""
_MOST_ROUNDS = 50
_WARM_UP_MS = 8.0
"""Milliseconds of warm-up of each side, before the rounds."""


def nothing() -> None:
    """Prepare nothing."""


@dataclass(frozen=True, slots=True)
class Side:
    """One of the alternatives that are timed in each round.

    Attributes:
        name: name in the rows.
        run: function that makes the calls.
        calls: number of calls that `run` makes.
        prepare: function that runs before the calls and is not timed.
    """

    name: str
    run: Callable[[], object]
    calls: int = 1
    prepare: Callable[[], None] = nothing


class Clock:
    """A clock for one device."""

    def __init__(self, device: torch.device, measure_ms: float = 40.0, least: int = 5) -> None:
        """Allocate the buffer that flushes the cache.

        Args:
            device: cuda, or cpu for a rehearsal.
            measure_ms: milliseconds to measure each side, over all rounds.
            least: smallest number of rounds, however long they take.
        """
        self.device, self._measure_ms, self._least = device, measure_ms, least
        size = 0 if device.type == "cpu" else _FLUSH_BYTES
        self._flush = torch.empty(size, dtype=torch.int8, device=device)

    def interleaved(self, sides: Sequence[Side]) -> dict[str, Rounds]:
        """Return milliseconds per call in each round, by name; the sides alternate in each round.

        Sides with the same name are parts of the same work: a round is the mean over them.
        """
        if self.device.type == "cpu":
            return on_host(sides, rounds=2)
        slowest = max(self._warmed(side) for side in sides)
        rounds = max(self._least, min(_MOST_ROUNDS, math.ceil(self._measure_ms / slowest)))
        events = [[self._marked(side) for side in sides] for _ in range(rounds)]
        torch.cuda.synchronize()
        turns = [[begin.elapsed_time(end) for begin, end in each] for each in events]
        return _by_name(sides, turns)

    def _warmed(self, side: Side) -> float:
        """Warm up a side, and return the milliseconds of its last run."""
        spent, runs = 0.0, 0
        while not runs or spent < _WARM_UP_MS:
            begin, end = self._marked(side)
            end.synchronize()
            last = float(begin.elapsed_time(end))
            spent, runs = spent + last, runs + 1
        return max(last, 1e-3)

    def _marked(self, side: Side) -> tuple[torch.cuda.Event, torch.cuda.Event]:
        side.prepare()
        self._flush.zero_()
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        side.run()
        end.record()
        return begin, end


def on_host(sides: Sequence[Side], rounds: int) -> dict[str, Rounds]:
    """Measure the same with the host's clock, until every stream of the GPU is done."""

    def once(side: Side) -> float:
        side.prepare()
        return seconds(side.run) * 1e3

    return _by_name(sides, [[once(side) for side in sides] for _ in range(rounds)])


def _by_name(sides: Sequence[Side], turns: Sequence[Sequence[float]]) -> dict[str, Rounds]:
    """Return milliseconds per call by name, from the times of all calls of each side."""
    calls = np.array(turns) / [side.calls for side in sides]
    names = np.array([side.name for side in sides])
    return {name: tuple(calls[:, names == name].mean(axis=1).tolist()) for name in names.tolist()}


def finish() -> None:
    """Wait until every stream of the GPU is done, if there is a GPU."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def seconds(action: Callable[[], object]) -> float:
    """Return the seconds of an action including its work on the device, which is idle at first."""
    finish()
    begin = time.perf_counter()
    action()
    finish()
    return time.perf_counter() - begin


def compiled(function: Callable[..., T], device: torch.device, **settings: Any) -> Callable[..., T]:
    """Compile a function with torch.compile for fixed sizes; on a CPU only trace it.

    Earlier compilations are discarded, so that no limit of recompilations is reached.
    """
    torch.compiler.reset()
    if device.type == "cpu":
        settings = {"backend": "eager"}
    made: Callable[..., T] = torch.compile(function, fullgraph=True, dynamic=False, **settings)
    return made


def sets_of(size: int, device: torch.device) -> int:
    """Return how many input sets of `size` bytes are needed so that none stays in the cache."""
    if device.type == "cpu":
        return 2
    cache = torch.cuda.get_device_properties(device).L2_cache_size
    return max(1, min(MOST_SETS, math.ceil(2 * cache / size)))


def rotated(sets: Sequence[T], device: torch.device) -> list[T]:
    """Return the sets, repeated in turn for as many calls as a graph needs."""
    calls = len(sets) if device.type == "cpu" else max(LEAST_CALLS, len(sets))
    return [sets[i % len(sets)] for i in range(calls)]


class Captured(Generic[T]):
    """Calls in one CUDA graph, and their outputs at fixed addresses.

    Attributes:
        calls: number of calls.
        outputs: output of each call.
        build_s: seconds for the warm-up, including compilation, and the capture.
    """

    def __init__(self, calls: Sequence[Callable[[], T]], device: torch.device) -> None:
        """Warm up, so that everything is compiled, and capture."""
        begin, self.calls = time.perf_counter(), len(calls)
        self._calls = calls
        self._graph: torch.cuda.CUDAGraph | None = None
        if device.type == "cpu":
            self.outputs = [call() for call in calls]
        else:
            self._capture(device)
        self.build_s = time.perf_counter() - begin

    def _capture(self, device: torch.device) -> None:
        stream = torch.cuda.Stream(device)
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(2):
                self._calls[0]()
        torch.cuda.current_stream().wait_stream(stream)
        torch.cuda.synchronize()
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph):
            self.outputs = [call() for call in self._calls]
        torch.cuda.synchronize()

    def run(self) -> None:
        """Repeat the calls; on a GPU their outputs get new values at the same addresses."""
        if self._graph is None:
            self.outputs = [call() for call in self._calls]
        else:
            self._graph.replay()


def rerun_poisoned(captured: Captured[Tensor]) -> list[Tensor]:
    """Fill the outputs with NaN, run again, and return the outputs."""
    for output in captured.outputs:
        output.fill_(torch.nan)
    captured.run()
    return captured.outputs
