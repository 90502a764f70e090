"""Slots: the rows of one step graph, each lent to a request until the request ends.

Between two launches a slot may change its tenant. A new tenant writes every input of its row; its
prompt then runs in chunks of that row only, while the row is parked at the end of the event, where
a step changes nothing that is read later. What remains of the last tenant is masked or reset by the
graph, as in any batch whose rows are at different positions.

A chunk's size depends on its prompt only, and noise on (seed, index) only. So a row's values are
those of the row in any other company, except at near ties: a product of matrices may round
differently for another number of rows.
"""

from collections import deque
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from ancestral.engine import step_loop
from ancestral.engine.alternatives import Alternatives
from ancestral.engine.budget import CHUNK
from ancestral.engine.request import Ended, Task
from ancestral.engine.runner import Runner
from ancestral.engine.session import Binding
from ancestral.signature import GraphSignature
from ancestral.step_tensors import StepGraph

STEPS = 4
"""Steps of a launch; then the host looks for rows that end, and refills their slots."""
CHUNKS = 4
"""Chunks of prompts that are run between two launches."""


@dataclass(frozen=True, slots=True)
class Drawn:
    """What a row has drawn since the last launch.

    Attributes:
        task: the request of the row.
        values: new values, [m].
        log_p: log p(x_t | x_<t) under the model, in nats, [m].
        log_q: log-probability under the distribution drawn from, in nats, [m].
        top: the most probable values at these positions, if the request asked for them.
        ended: why the row ended, or None if it goes on.
    """

    task: Task
    values: NDArray[np.int64]
    log_p: NDArray[np.float32]
    log_q: NDArray[np.float32]
    top: Alternatives | None
    ended: Ended | None


class Slots:
    """Rows of one binding, filled and emptied one by one. Not thread-safe; a context manager.

    The first row takes the binding, that of the step graph for its settings. A later row that needs
    a wider graph exchanges the binding for one of that graph.
    """

    def __init__(self, runner: Runner, rows: int) -> None:
        """Create empty slots.

        Args:
            runner: the engine.
            rows: number of slots.
        """
        self._runner, self._rows, self._t = runner, rows, runner.data.length
        self._tasks: list[Task | None] = [None] * rows
        self._position = np.zeros(rows, np.int64)
        # Slots whose prompts are not done, in order of admission.
        self._filling: deque[int] = deque()
        self._held = ExitStack()
        self._graph: StepGraph = "step"
        self._taken: tuple[GraphSignature, Binding] | None = None

    def __enter__(self) -> "Slots":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._held.__exit__(kind, error, trace)

    @property
    def free(self) -> int:
        """Number of empty slots."""
        return self._tasks.count(None)

    @property
    def filling(self) -> int:
        """Number of slots whose prompts are not done."""
        return len(self._filling)

    def admit(self, task: Task) -> None:
        """Give an empty slot to a request; at least one must be free."""
        row = self._tasks.index(None)
        graphs, levels = self._runner.bundle.manifest.graphs, self._runner.data.levels
        signature, binding = self._bound(step_loop.graph_of(task.sampling, graphs, task.logprobs))
        given = dict(task.start.given)
        given |= step_loop.settings(signature, task.sampling, 1, levels)
        first = task.start.first_position
        start = step_loop.Start(task.start.observed, given, first, noise=task.start.noise)
        step_loop.take(signature, binding, row, start)
        self._tasks[row], self._position[row] = task, first
        if step_loop.prefills(signature, self._t) and task.begin > first:
            self._filling.append(row)

    def cancel(self, number: int) -> bool:
        """Empty the slot of a request, and return whether it had one."""
        rows = [row for row, task in enumerate(self._tasks) if task and task.number == number]
        for row in rows:
            self._release(row)
        return bool(rows)

    def tick(self) -> list[Drawn]:
        """Run some chunks of prompts, then some steps of all rows whose prompts are done.

        Returns:
            What each of these rows drew. A row that ended has left its slot.

        Raises:
            NotADistribution: a log-probability of a row is NaN.
            BundleError: the weights have changed since the bundle was opened, or a drawn value is
                not a level.
        """
        self._runner.check_files()
        self._prefill()
        live = [row for row in self._busy() if row not in self._filling]
        if not live:
            return []
        before = self._position.copy()
        self._launch(live)
        found = step_loop.read_drawn(self._binding, self._signature)
        return [self._drawn(row, int(before[row]), found) for row in live]

    def _busy(self) -> list[int]:
        return [row for row, task in enumerate(self._tasks) if task is not None]

    def _prefill(self) -> None:
        """Run chunks of the prompts that came first; without other rows, until one is done."""
        waiting = len(self._busy()) > len(self._filling)
        chunks = 0
        while self._filling and (chunks < CHUNKS or not waiting):
            row = self._filling[0]
            task, at = self._tasks[row], int(self._position[row])
            assert task is not None
            # The step at the last position draws its value, so a block ends before it.
            block = min(chunk(task.begin, at), self._t - 1 - at)
            if block > 0:
                step_loop.prefill(self._binding, row, at, block)
                self._position[row] += block
                chunks += 1
            if self._position[row] >= min(task.begin, self._t - 1):
                self._filling.popleft()
                waiting = True

    def _launch(self, live: list[int]) -> None:
        """Run steps of the live rows; the others change nothing that is read later."""
        ends = [task.end for row in live if (task := self._tasks[row])]
        wanted = np.array(ends) - self._position[live]
        steps = max(1, min(STEPS, int(wanted.max())))
        # Empty rows begin anew each time: there attention is shortest.
        position = np.full(self._rows, self._runner.first_position, np.int64)
        position[live] = self._position[live]
        position[list(self._filling)] = self._t
        step_loop.place(self._binding, position)
        step_loop.run_rows(self._binding, steps, self._used())
        self._position[live] = np.minimum(self._position[live] + steps, self._t)

    def _used(self) -> slice | None:
        """Return the rows to step: on a CPU those up to the last tenant, on a GPU all.

        On a GPU fewer rows take no less time, and all rows are in one CUDA graph.
        """
        if self._runner.backend.device != "cpu":
            return None
        return slice(0, self._busy()[-1] + 1)

    def _drawn(self, row: int, before: int, found: step_loop.LoopResult) -> Drawn:
        """Return what a row drew since a position, and release its slot if it has ended."""
        task = self._tasks[row]
        assert task is not None
        begin = max(before, task.begin)
        end = max(begin, min(int(self._position[row]), task.end))
        ended = task.ended if end >= task.end else None
        values = found.values[row, begin:end]
        stops = np.flatnonzero(np.isin(values, list(task.stop)))
        if len(stops):
            end, ended = begin + int(stops[0]) + 1, "stop"
        new = slice(begin, end)
        log_p, log_q = found.log_p[row, new].copy(), found.log_q[row, new].copy()
        at = [np.pad(nats, (begin, 0))[None] for nats in (log_p, log_q)]
        step_loop.check(at[0], task.index, at[1])
        step_loop.check_values(found.values[row, new], self._runner.data.levels)
        top = None
        if task.logprobs:
            every = step_loop.read_top(self._binding, task.logprobs, slice(row, row + 1))
            top = every.part(0, new)
        if ended is not None:
            self._release(row)
        return Drawn(task, found.values[row, new].copy(), log_p, log_q, top, ended)

    def _release(self, row: int) -> None:
        self._tasks[row] = None
        if row in self._filling:
            self._filling.remove(row)

    @property
    def _binding(self) -> Binding:
        assert self._taken is not None
        return self._taken[1]

    @property
    def _signature(self) -> GraphSignature:
        assert self._taken is not None
        return self._taken[0]

    def _bound(self, graph: StepGraph) -> tuple[GraphSignature, Binding]:
        """Return signature and binding; take one if there is none, or none of so wide a graph."""
        graph = step_loop.wider(graph, self._graph)
        if self._taken is not None and self._graph == graph:
            return self._taken
        before, old = self._held, self._taken
        signature = self._runner.session(graph).signature
        self._held = ExitStack()
        with before:
            lent: AbstractContextManager[Binding] = self._runner.binding(graph, self._rows)
            binding = self._held.enter_context(lent)
            step_loop.clear_settings(signature, binding, self._rows, self._runner.data.levels)
            if old is not None:
                step_loop.move(old[1], binding, old[0])
        self._taken, self._graph = (signature, binding), graph
        return self._taken


def chunk(prompt: int, position: int) -> int:
    """Return the size of the chunk of a prompt that begins at a position.

    It depends on nothing else, so that a row rounds the same in any company.

    >>> [chunk(150, at) for at in (0, 64, 128)]
    [64, 64, 22]
    """
    return min(CHUNK, prompt - position)
