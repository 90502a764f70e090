"""Proposals for the slot of a stream that draws while no other does."""

from contextlib import ExitStack

import numpy as np
from numpy.typing import NDArray

from ancestral.engine.request import Task
from ancestral.engine.runner import Runner
from ancestral.engine.session import Binding
from ancestral.engine.speculation.plan import Speculate, plan_of, unsuited
from ancestral.engine.speculation.proposer import Row
from ancestral.engine.speculation.report import Speculated, joined
from ancestral.engine.speculation.speculated_row import SpeculatedRow
from ancestral.sampling import UNFILTERED
from ancestral.step_tensors import LABEL


class LoneRow:
    """Draws a row in blocks of proposals while it is the only one; not thread-safe.

    Of several rows a step draws all of them, which blocks of one row after another do not match.
    """

    def __init__(self, runner: Runner, speculate: Speculate) -> None:
        """Check the proposer.

        Args:
            runner: the engine.
            speculate: the user's argument, other than None.

        Raises:
            InvalidInput: it does not fit the model, as in `plan_of`.
        """
        self._runner, self._speculate = runner, speculate
        plan_of(runner, speculate, UNFILTERED, "step", 1)
        self._held = ExitStack()
        self._task: Task | None = None
        self._loop: SpeculatedRow | None = None
        self._reached = -1
        self._ended = Speculated()

    @property
    def report(self) -> Speculated:
        """What was counted over all rows; steps of several rows are not among it."""
        return self._ended if self._loop is None else joined([self._ended, self._loop.report])

    def advance(
        self,
        binding: Binding,
        graph: str,
        slot: tuple[int, Task, int],
        values: NDArray[np.int64],
        launch: int,
    ) -> int | None:
        """Run one block of a slot, and return its next position.

        Args:
            binding: binding of the step graph with a row for each slot.
            graph: name of the step graph.
            slot: number of the slot, its request, and its next position.
            values: values of the row by positions, [t]; those before the position are drawn.
            launch: most single steps that are run at once.

        Returns:
            The next position; None if this request is drawn step by step.
        """
        row, task, position = slot
        if task is not self._task:
            self._begin(task, graph)
        if self._loop is None:
            return None
        if position != self._reached:
            self._loop.catch_up(values[:position])
        self._reached = self._loop.advance(binding, position, task.end, row, launch)
        return self._reached

    def _begin(self, task: Task, graph: str) -> None:
        self.close()
        self._task = task
        noise, start = task.start.noise, task.start
        if unsuited(self._runner, graph, task.sampling) is not None:
            return
        plan = plan_of(self._runner, self._speculate, task.sampling, graph, 1)
        if plan is None or plan.proposer is None:
            return
        assert noise is not None
        label = start.given.get(LABEL)
        row = Row(self._runner.data, start.observed[0], noise, label, task.sampling)
        self._loop = self._held.enter_context(plan.row(self._runner, graph, row))

    def release(self, task: Task) -> None:
        """Release what the proposals of a request hold, which has left its slot."""
        if task is self._task:
            self.close()

    def close(self) -> None:
        """Release what the proposals of any request hold."""
        self._ended = self.report
        self._held.close()
        self._task, self._loop, self._reached = None, None, -1
