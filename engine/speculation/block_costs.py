"""Time of a call of the step graph by the size of its block, for a single row."""

import time

import numpy as np
from numpy.typing import NDArray

from ancestral.engine import step_loop
from ancestral.engine.runner import Runner
from ancestral.engine.session import Binding
from ancestral.engine.speculation.block_choice import SIZES, Fixed
from ancestral.engine.speculation.report import Speculated
from ancestral.engine.speculation.speculated_row import SpeculatedRow

_MIDDLE = 512
"""Largest position at which blocks are measured."""
_ROUNDS, _SECONDS = 5, 0.1
"""Each size is measured this often at least, and until so many seconds have passed: other programs
lengthen most of the times of a short call, and seldom all of them."""
_STEPS = 8
"""Single steps that are timed together, since a row takes many of them at once."""


def block_costs(runner: Runner, graph: str) -> dict[int, float]:
    """Return the seconds of a call of each size of block, measured once for each step graph.

    They include what the host does for a call, other than the proposals. That is less for single
    steps, which are launched together.

    Args:
        runner: an engine whose step graph takes blocks.
        graph: name of the step graph.

    Returns:
        The shortest time of each size that fits into an event.
    """
    return runner.once(("seconds of a block", graph), lambda: _measured(runner, graph))


def _measured(runner: Runner, graph: str) -> dict[int, float]:
    t, levels = runner.data.length, runner.data.levels
    sizes = [size for size in SIZES if size <= max(t - runner.first_position, 1)]
    at = max(runner.first_position, min(t // 2, _MIDDLE, t - sizes[-1]))
    times: dict[int, list[float]] = {size: [] for size in sizes}
    end, rounds = time.perf_counter() + _SECONDS, 0
    with runner.binding(graph, 1) as binding:
        while rounds <= _ROUNDS or time.perf_counter() < end:
            rounds += 1
            for size in sizes:
                begin = time.perf_counter()
                calls = _run(binding, size, at, t, levels)
                times[size].append((time.perf_counter() - begin) / calls)
    return {size: min(found[1:]) for size, found in times.items()}


def _run(binding: Binding, size: int, at: int, t: int, levels: int) -> int:
    """Run some calls of a size from position `at` of t, and return their number."""
    if size == 1:
        return len(step_loop.walk(binding, at, min(_STEPS, t - at)))
    loop = SpeculatedRow(np.full(t, -1), levels, _Zeros(), Fixed(size), Speculated())
    loop.advance(binding, at, t)
    return 1


class _Zeros:
    """Proposals that take no time."""

    def propose(self, values: NDArray[np.int64], position: int, most: int) -> NDArray[np.int64]:
        return np.zeros(most, np.int64)
