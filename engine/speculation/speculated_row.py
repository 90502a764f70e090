"""The loop of one row with proposals: each call yields at least one value of the sample."""

import time
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from ancestral.arrays import shown
from ancestral.engine import step_loop
from ancestral.engine.session import Binding
from ancestral.engine.speculation.proposer import Proposals
from ancestral.engine.speculation.report import Speculated


@runtime_checkable
class Choice(Protocol):
    """Chooses the size of each block of a row."""

    def rest(self, most: int) -> int:
        """Return how many single steps come next, at most `most`; 0 if a block does."""

    def size(self) -> int:
        """Return the size of the next block."""

    def seen(self, proposed: int, right: int) -> None:
        """Take the outcome of a block: its proposals, and how many of the first were right."""


class SpeculatedRow:
    """One row: its values so far, its proposals, and what was counted.

    Attributes:
        report: what was counted.
    """

    def __init__(
        self,
        observed: NDArray[np.int64],
        levels: int,
        proposals: Proposals | None,
        choice: Choice,
        report: Speculated,
    ) -> None:
        """Begin a row.

        Args:
            observed: values that it observes by positions, [t]; -1 where free.
            levels: number of values of the model.
            proposals: proposals for its values; None draws them one by one.
            choice: chooses the sizes of blocks.
            report: what the calls of the row are added to.
        """
        self._observed, self._levels = observed, levels
        self._values = observed.copy()
        self._seen = self._values.view()
        self._seen.flags.writeable = False
        forced = np.flatnonzero(observed >= 0)
        self._forced_end = int(forced[-1]) + 1 if len(forced) else 0
        self._proposals = proposals
        self._choice, self.report = choice, report

    def catch_up(self, values: NDArray[np.int64]) -> None:
        """Take the values of the first positions, which single steps drew, [n]."""
        self._values[: len(values)] = values

    def advance(
        self,
        binding: Binding,
        position: int,
        end: int,
        row: int | None = None,
        launch: int = step_loop.STEPS_PER_LAUNCH,
    ) -> int:
        """Run one block, or some single steps, and return the next position of the row.

        Args:
            binding: binding of a step graph with this row, whose cache holds the positions before.
            position: next position.
            end: position at which the row ends; the block does not pass it.
            row: its row in the binding; None if that has no other.
            launch: most single steps that are run at once.
        """
        begin = time.perf_counter()
        steps = self._choice.rest(min(launch, end - position))
        if steps:
            self._values[position : position + steps] = step_loop.walk(
                binding, position, steps, row
            )
            self.report.add(1, 1, steps)
            self.report.seconds += time.perf_counter() - begin
            return position + steps
        room = min(self._choice.size(), end - position) - 1
        proposed = self._proposed(position, room) if room > 0 else _NOTHING
        drawn = step_loop.redraw(binding, position, proposed, row)
        right = _agreeing(proposed, drawn)
        block = len(drawn)
        self._values[position : position + block] = drawn
        self._choice.seen(len(proposed), right)
        self.report.add(block, right + 1)
        self.report.seconds += time.perf_counter() - begin
        return position + right + 1

    def _proposed(self, position: int, most: int) -> NDArray[np.int64]:
        """Return checked proposals, [m]; observed values replace them."""
        if self._proposals is None:
            return _NOTHING
        try:
            found = self._proposals.propose(self._seen, position, most)
            problem = self._problem(found, most)
        except Exception as error:  # noqa: BLE001 - a proposer may be the user's own code
            problem = f"{type(error).__name__}: {error}"
        if problem is not None:
            self._proposals = None
            self.report.remark = f"the proposer was left off at position {position}: {problem}"
            return _NOTHING
        if position >= self._forced_end:
            return found
        forced = self._observed[position : position + len(found)]
        return np.where(forced >= 0, forced, found)

    def _problem(self, found: object, most: int) -> str | None:
        """Return what is wrong with proposals; None if nothing is."""
        if not isinstance(found, np.ndarray) or found.ndim != 1 or found.dtype != np.int64:
            return f"expected an array of int64, [m], got {shown(found)}"
        if len(found) > most:
            return f"expected at most {most} values, got {len(found)}"
        # Of so few values lists are searched faster than arrays.
        values = found.tolist()
        if values and not (min(values) >= 0 and max(values) < self._levels):
            return f"expected values in 0 .. {self._levels - 1}, got {shown(found)}"
        return None


_NOTHING = np.empty(0, np.int64)


def _agreeing(proposed: NDArray[np.int64], drawn: NDArray[np.int64]) -> int:
    """Return how many of the first proposals are what was drawn."""
    # Of so few values lists are compared faster than arrays.
    ours, theirs = proposed.tolist(), drawn.tolist()
    count = 0
    while count < len(ours) and ours[count] == theirs[count]:
        count += 1
    return count
