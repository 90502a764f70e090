"""Time of a call of the step graph by the size of its block, for a single row."""

import time

import numpy as np

from ancestral.engine import step_loop
from ancestral.engine.runner import Runner
from ancestral.engine.speculation.block_choice import SIZES

_MIDDLE = 256
"""Largest position at which blocks are measured."""
_ROUNDS = 5


def block_costs(runner: Runner, graph: str) -> dict[int, float]:
    """Return the seconds of a call of each size of block, measured once for each step graph.

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
    times: dict[int, list[float]] = {size: [] for size in sizes}
    with runner.binding(graph, 1) as binding:
        for _ in range(_ROUNDS + 1):
            for size in sizes:
                begin = time.perf_counter()
                step_loop.redraw(binding, at, np.zeros(size - 1, np.int64))
                times[size].append(time.perf_counter() - begin)
    return {size: min(found[1:]) for size, found in times.items()}
