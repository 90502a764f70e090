"""Time of a call of the step graph by the size of its block, for a single row."""

import time

import numpy as np
from numpy.typing import NDArray

from ancestral.engine.runner import Runner
from ancestral.engine.speculation.block_choice import SIZES, Fixed
from ancestral.engine.speculation.report import Speculated
from ancestral.engine.speculation.speculated_row import SpeculatedRow

_MIDDLE = 256
"""Largest position at which blocks are measured."""
_ROUNDS = 5


def block_costs(runner: Runner, graph: str) -> dict[int, float]:
    """Return the seconds of a call of each size of block, measured once for each step graph.

    They include what the host does for a call, other than the proposals.

    Args:
        runner: an engine whose step graph takes blocks.
        graph: name of the step graph.

    Returns:
        The shortest of five times of each size that fits into an event.
    """
    return runner.once(("seconds of a block", graph), lambda: _measured(runner, graph))


def _measured(runner: Runner, graph: str) -> dict[int, float]:
    t = runner.data.length
    sizes = [size for size in SIZES if size <= max(t - runner.first_position, 1)]
    at = max(runner.first_position, min(t // 2, _MIDDLE, t - sizes[-1]))
    observed, levels = np.full(t, -1), runner.data.levels
    times: dict[int, list[float]] = {size: [] for size in sizes}
    with runner.binding(graph, 1) as binding:
        for _ in range(_ROUNDS + 1):
            for size in sizes:
                loop = SpeculatedRow(observed, levels, _Zeros(), Fixed(size), Speculated())
                begin = time.perf_counter()
                loop.advance(binding, at, t)
                times[size].append(time.perf_counter() - begin)
    return {size: min(found[1:]) for size, found in times.items()}


class _Zeros:
    """Proposals that take no time."""

    def propose(self, values: NDArray[np.int64], position: int, most: int) -> NDArray[np.int64]:
        return np.zeros(most, np.int64)
