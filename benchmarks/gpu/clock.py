"""Time on a device: sides in turns, many calls in one CUDA graph, nothing left in the L2 cache.

A kernel of a few microseconds is over before the host has launched the next; in a graph it runs as
it does in the decode loop. On a CPU, which is for rehearsals, calls are made one by one and timed
by the host's clock.
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
"""Sets of inputs that take turns."""
LEAST_CALLS = 8
"""Of a graph."""
_FLUSH_BYTES = 2**29
"""Written before each round: more than any L2 cache, and long enough for the host to be ahead."""
_MOST_ROUNDS = 50
_WARM_UP_MS = 8.0
"""Of each side, before the rounds."""


def nothing() -> None:
    """No preparation."""


@dataclass(frozen=True, slots=True)
class Side:
    """What takes its turn in each round.

    Attributes:
        name: for the rows.
        run: the calls.
        calls: how many they are.
        prepare: what comes before them and is not timed.
    """

    name: str
    run: Callable[[], object]
    calls: int = 1
    prepare: Callable[[], None] = nothing


class Clock:
    """Of one device."""

    def __init__(self, device: torch.device, measure_ms: float = 40.0, least: int = 5) -> None:
        """Allocate what is written to empty the cache.

        Args:
            device: cuda, or cpu for a rehearsal.
            measure_ms: of each side, in all rounds.
            least: rounds, however long they take.
        """
        self.device, self._measure_ms, self._least = device, measure_ms, least
        size = 0 if device.type == "cpu" else _FLUSH_BYTES
        self._flush = torch.empty(size, dtype=torch.int8, device=device)

    def interleaved(self, sides: Sequence[Side]) -> dict[str, Rounds]:
        """Milliseconds a call in each round, by name; the sides take turns: ours, theirs, ours, ...

        Sides of one name are stretches of the same work: a round is the mean of theirs.
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
        """Milliseconds of one run, after some."""
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
    """The same by the host's clock, until every stream of the GPU is done."""

    def once(side: Side) -> float:
        side.prepare()
        return seconds(side.run) * 1e3

    return _by_name(sides, [[once(side) for side in sides] for _ in range(rounds)])


def _by_name(sides: Sequence[Side], turns: Sequence[Sequence[float]]) -> dict[str, Rounds]:
    """Milliseconds a call by name, of turns that have those of all the calls of each side."""
    calls = np.array(turns) / [side.calls for side in sides]
    names = np.array([side.name for side in sides])
    return {name: tuple(calls[:, names == name].mean(axis=1).tolist()) for name in names.tolist()}


def finish() -> None:
    """Wait until every stream of the GPU is done, where there is one."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def seconds(action: Callable[[], object]) -> float:
    """Seconds of an action, until what it left to the device is done; nothing is left before it."""
    finish()
    begin = time.perf_counter()
    action()
    finish()
    return time.perf_counter() - begin


def compiled(function: Callable[..., T], device: torch.device, **settings: Any) -> Callable[..., T]:
    """The function by torch.compile at fixed sizes; on a CPU traced, and run as it is.

    What was compiled before is forgotten, so that no limit of recompilations is reached.
    """
    torch.compiler.reset()
    if device.type == "cpu":
        settings = {"backend": "eager"}
    made: Callable[..., T] = torch.compile(function, fullgraph=True, dynamic=False, **settings)
    return made


def sets_of(size: int, device: torch.device) -> int:
    """How many sets of inputs of so many bytes are needed, so that none is found in the cache."""
    if device.type == "cpu":
        return 2
    cache = torch.cuda.get_device_properties(device).L2_cache_size
    return max(1, min(MOST_SETS, math.ceil(2 * cache / size)))


def rotated(sets: Sequence[T], device: torch.device) -> list[T]:
    """The sets in turn, as often as a graph needs calls."""
    calls = len(sets) if device.type == "cpu" else max(LEAST_CALLS, len(sets))
    return [sets[i % len(sets)] for i in range(calls)]


class Captured(Generic[T]):
    """Calls in one CUDA graph, and what they gave, at fixed addresses.

    Attributes:
        calls: how many.
        outputs: of each.
        build_s: seconds that it took to warm up, with all that compiles then, and to capture.
    """

    def __init__(self, calls: Sequence[Callable[[], T]], device: torch.device) -> None:
        """Warm up, so that whatever compiles has compiled, and capture."""
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
        """Make the calls again; their outputs have new values at the same addresses on a GPU."""
        if self._graph is None:
            self.outputs = [call() for call in self._calls]
        else:
            self._graph.replay()


def rerun_poisoned(captured: Captured[Tensor]) -> list[Tensor]:
    """The outputs of a run that found NaN where it was to write."""
    for output in captured.outputs:
        output.fill_(torch.nan)
    captured.run()
    return captured.outputs
