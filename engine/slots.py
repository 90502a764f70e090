"""Slots: the rows of one step graph, each lent to a request until the request ends.

Between two launches a slot may change its tenant. A new tenant writes every input of its row; its
prompt then runs in chunks of that row only, while the row is parked at the end of the event, where
a step changes nothing that is read later. What remains of the last tenant is masked or reset by the
graph, as in any batch whose rows are at different positions.

A prompt that begins as another one does takes that part from its cache, as `donors` and `prefixes`
say. The cache of a slot stays for others until the slot has a new tenant.

A chunk's size depends on its prompt only, and noise on (seed, index) only. So a row's values are
those of the row in any other company, except at near ties: a product of matrices may round
differently for another number of rows.
"""

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray

from ancestral.engine import draw_checks, prefill, row_loop, step_graph, step_loop
from ancestral.engine.budget import CHUNK
from ancestral.engine.donors import Donors
from ancestral.engine.drawn import Drawn, read_row
from ancestral.engine.exchange import Exchange
from ancestral.engine.prefixes import Prompt
from ancestral.engine.request import Task
from ancestral.engine.runner import Runner
from ancestral.engine.speculation import Speculated
from ancestral.engine.speculation.lone_row import LoneRow

STEPS = 4
"""Steps of a launch at most; then the host looks for rows that end, and refills their slots. Twice
as many when all slots are taken and no value can end a row, so that fewer would refill none."""
CHUNKS = 4
"""Chunks of prompts that are run between two launches."""


class Slots:
    """Rows of one binding, filled and emptied one by one. Not thread-safe."""

    def __init__(
        self, runner: Runner, rows: int, prefix_memory: int, lone: LoneRow | None = None
    ) -> None:
        """Create empty slots.

        Args:
            runner: the engine.
            rows: number of slots.
            prefix_memory: most bytes of caches of rows that have left their slots.
            lone: draws a row in blocks of proposals while it is the only one; None steps.
        """
        self._runner, self._rows, self._t = runner, rows, runner.data.length
        self._tasks: list[Task | None] = [None] * rows
        self._donors = Donors(rows, self._t, prefix_memory)
        # Slots whose prompts are not done, in order of admission; and those that have not begun.
        self._filling: deque[int] = deque()
        self._new: set[int] = set()
        self._exchange = Exchange(runner, rows)
        self._lone = lone

    @contextmanager
    def lease(self) -> Iterator[None]:
        """Make a context in which the slots are used; its end gives their binding back."""
        with self._exchange:
            try:
                yield
            finally:
                if self._lone is not None:
                    self._lone.close()

    @property
    def speculated(self) -> Speculated | None:
        """Calls and acceptance while a single row drew; None if nothing proposes values."""
        return None if self._lone is None else self._lone.report

    @property
    def free(self) -> int:
        """Number of empty slots."""
        return sum(task is None for task in self._tasks)

    @property
    def filling(self) -> int:
        """Number of slots whose prompts are not done."""
        return len(self._filling)

    def admit(self, task: Task) -> None:
        """Give an empty slot to a request; at least one must be free."""
        graphs, levels = self._runner.bundle.manifest.graphs, self._runner.data.levels
        signature, binding = self._exchange.take(
            step_graph.graph_of(task.sampling, graphs, task.logprobs)
        )
        given = dict(task.start.given)
        given |= step_graph.settings(signature, task.sampling, 1, levels)
        first = task.start.first_position
        start = step_loop.Start(task.start.observed, given, first, noise=task.start.noise)
        loop = signature, binding
        row, own = self._donors.place(loop, self._prompt(task), self._near())
        self._donors.admit(loop, row, task, start, own)
        self._tasks[row] = task
        if step_graph.prefills(signature, self._t) and task.begin > self._position[row]:
            self._filling.append(row)
            self._new.add(row)

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
        before = self._position[live]
        if self._filling or len(live) > 1 or not self._speculated(live[0]):
            self._launch(live)
        return self._read(live, before)

    def _busy(self) -> list[int]:
        return [row for row, task in enumerate(self._tasks) if task is not None]

    def _prefill(self) -> None:
        """Run chunks of the prompts that came first; without other rows, until one is done."""
        waiting = len(self._busy()) > len(self._filling)
        chunks = 0
        while self._filling and (chunks < CHUNKS or not waiting):
            row = self._filling[0]
            task = self._tenant(row)
            if row in self._new:
                self._new.discard(row)
                self._share(row)
            at = int(self._position[row])
            # The step at the last position draws its value, so a block ends before it.
            block = min(chunk(task.begin, at), self._t - 1 - at)
            if block > 0:
                filling = prefill.session_of(self._runner, prompt_log_p=task.prompt_log_p)
                row_loop.prefill(self._exchange.binding, row, at, block, filling)
                if filling is not None:
                    self._donors.filled(row)
                self._position[row] += block
                chunks += 1
            if self._position[row] >= min(task.begin, self._t - 1):
                self._filling.popleft()
                waiting = True
                if not step_graph.rewinds(self._exchange.signature, self._t):
                    # The state of this prompt is there until the next step only.
                    for other in self._new:
                        self._share(other)

    def _share(self, row: int) -> None:
        self._donors.share(self._exchange.loop, row, self._prompt(self._tenant(row)))

    def _tenant(self, row: int) -> Task:
        task = self._tasks[row]
        assert task is not None
        return task

    def _speculated(self, row: int) -> bool:
        """Run a block of proposals of the only row; return False if it is drawn step by step."""
        if self._lone is None:
            return False
        slot = row, self._tenant(row), int(self._position[row])
        reached = self._lone.advance(
            self._exchange.binding, self._exchange.graph, slot, self._donors.values[row], STEPS
        )
        if reached is not None:
            self._position[row] = reached
        return reached is not None

    def _launch(self, live: list[int]) -> None:
        """Run steps of the live rows; the others change nothing that is read later."""
        steps = self._steps(live)
        # Empty rows begin anew each time: there attention is shortest.
        position = np.full(self._rows, self._runner.first_position, np.int64)
        if not step_graph.rewinds(self._exchange.signature, self._t):
            # A state must not move on from where its row has left it.
            position[self._donors.parked] = self._t
        position[live] = self._position[live]
        position[list(self._filling)] = self._t
        step_loop.place(self._exchange.binding, position)
        row_loop.run_rows(self._exchange.binding, steps, self._used(live))
        self._position[live] = np.minimum(self._position[live] + steps, self._t)

    def _steps(self, live: list[int]) -> int:
        """Return the steps of a launch, which ends as soon as a row is sure to end.

        While prompts are filling there are fewer steps, by the share of the rows that would step.
        """
        tasks = [self._tenant(row) for row in live]
        most = STEPS
        if self._filling:
            most = -(-STEPS * len(live) // (len(live) + len(self._filling)))
        elif len(live) == self._rows and not any(task.stop or task.stop_text for task in tasks):
            most = 2 * STEPS
        ends = min(
            task.end - int(self._position[row]) for row, task in zip(live, tasks, strict=True)
        )
        return max(1, min(most, ends))

    def _used(self, live: list[int]) -> slice | None:
        """Return the rows to step: on a CPU those up to the last live one, on a GPU all.

        On a GPU fewer rows take no less time, and all rows are in one CUDA graph.
        """
        if self._runner.backend.device != "cpu":
            return None
        return slice(0, live[-1] + 1)

    def _read(self, live: list[int], before: NDArray[np.int64]) -> list[Drawn]:
        """Return what the live rows drew since their positions, and release slots of ended rows."""
        found = row_loop.read_drawn(self._exchange.binding, self._exchange.signature)
        self._donors.values = found.values
        return [self._drawn(row, at, found) for row, at in zip(live, before.tolist(), strict=True)]

    def _drawn(self, row: int, before: int, found: step_loop.LoopResult) -> Drawn:
        """Return what a row drew since a position, and release its slot if it has ended."""
        positions = before, int(self._position[row])
        drawn = read_row(self._exchange.binding, row, self._tenant(row), positions, found)
        self._donors.seen(row)
        draw_checks.check_values(drawn.values, self._runner.data.levels)
        if drawn.ended is not None:
            self._release(row)
        return drawn

    def _release(self, row: int) -> None:
        if self._lone is not None:
            self._lone.release(self._tenant(row))
        self._tasks[row] = None
        self._new.discard(row)
        if row in self._filling:
            self._filling.remove(row)
        self._donors.release(self._exchange.loop, row)

    def _near(self) -> list[int]:
        """Return the empty slots that a new tenant may take.

        On a CPU the steps run over the rows up to the last tenant: a slot beyond it and the lowest
        empty one would make all steps longer.
        """
        free = [row for row, tenant in enumerate(self._tasks) if tenant is None]
        if self._runner.backend.device != "cpu":
            return free
        return [row for row in free if row <= max(free[0], *self._busy(), 0)]

    def _prompt(self, task: Task) -> Prompt:
        """Return the prompt of a request, with the ends of its chunks."""
        at, end = task.start.first_position, min(task.begin, self._t - 1)
        ends = []
        while at < end:
            at = min(end, at + chunk(task.begin, at))
            ends.append(at)
        values = task.start.observed[0, : task.begin]
        return Prompt(values, task.label, task.prompt_log_p, tuple(ends), task.prefix_scope)

    @property
    def _position(self) -> NDArray[np.int64]:
        return self._donors.position


def chunk(prompt: int, position: int) -> int:
    """Return the size of the chunk of a prompt that begins at a position.

    It depends on nothing else, so that a row rounds the same in any company.

    >>> [chunk(150, at) for at in (0, 64, 128)]
    [64, 64, 22]
    """
    return min(CHUNK, prompt - position)
