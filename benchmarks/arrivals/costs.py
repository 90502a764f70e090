"""The costs of a workload's steps and prompts, each measured without the stream around it."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ancestral.engine import AutoregressiveEngine, row_loop, step_graph, step_loop
from ancestral.engine.request import Task, task_of
from ancestral.engine.slots import chunk
from ancestral.engine.timing import seconds
from benchmarks.arrivals.trace import Trace
from benchmarks.arrivals.workload import Workload

STEPS = 8
"""Steps that are timed at a time."""
PLACES = 24
"""Sets of positions at which steps are timed."""


@dataclass(frozen=True, slots=True)
class Costs:
    """What steps and prompts take by themselves.

    Attributes:
        step: seconds of one step with all slots in use, the mean over the workload's positions.
        prompts: seconds to prefill each prompt, [n].
    """

    step: float
    prompts: NDArray[np.float64]

    def share(self, trace: Trace) -> float:
        """Return the time that a run allows over the time that it took, while saturated.

        The time that it allows is that of the prompts that were prefilled, and of as many steps as
        its values need if every step draws one in each slot.
        """
        measured, values, done = trace.saturated()
        return (self.prompts[done].sum() + self.step * values / trace.slots) / measured


def measure(engine: AutoregressiveEngine, workload: Workload, slots: int, seed: int) -> Costs:
    """Prefill each prompt in the stream's chunks, then step all slots at positions of the workload.

    A step of a stream at saturation finds each value of each request with the same probability, so
    each slot is put at the position of one of them, drawn uniformly.

    Args:
        engine: the engine.
        workload: requests.
        slots: number of slots.
        seed: seed of the positions.
    """
    session = engine.session("step")
    signature, t = session.signature, engine.data.length
    binding = session.bind({"b": slots, "s": 1})
    row_loop.clear_settings(signature, binding, slots, engine.data.levels)
    blocks = step_graph.prefills(signature, t)
    prompts = np.zeros(len(workload.requests))
    for i, request in enumerate(workload.requests):
        task = task_of(engine, request, i)
        row_loop.take(signature, binding, i % slots, task.start)
        if blocks:
            prompts[i] = seconds(lambda: _prefill(binding, i % slots, task))  # noqa: B023
    random = np.random.default_rng(seed)
    new = workload.new
    times = []
    for _ in range(PLACES):
        rows = random.choice(len(new), slots, p=new / new.sum())
        position = workload.prompts[rows] + random.integers(0, new[rows])
        step_loop.place(binding, np.minimum(position, t - STEPS).clip(engine.first_position))
        times.append(seconds(lambda: row_loop.run_rows(binding, STEPS, None)) / STEPS)
    return Costs(float(np.mean(times[1:])), prompts)


def _prefill(binding: step_loop.Binding, row: int, task: Task) -> None:
    at = task.start.first_position
    while at < task.begin:
        block = chunk(task.begin, at)
        row_loop.prefill(binding, row, at, block)
        at += block
