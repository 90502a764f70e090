"""Proposals that are what earlier blocks drew at the same positions: Jacobi's iteration."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ancestral.engine.runner import Runner
from ancestral.engine.speculation.proposer import Proposals, Proposer, Row


@dataclass(frozen=True, slots=True)
class Jacobi:
    """Proposes what the last block drew, and beyond it what another proposer does.

    Attributes:
        fill: proposer of the values beyond the last block; None repeats the last value.

    References:
        Song et al. (2020), arXiv:2002.03629, section 3.
    """

    fill: Proposer | None = None

    @property
    def name(self) -> str:
        return "jacobi" if self.fill is None else f"jacobi+{self.fill.name}"

    def check(self, runner: Runner) -> None:
        if self.fill is not None:
            self.fill.check(runner)

    def seconds(self) -> float:
        return 0.0 if self.fill is None else self.fill.seconds()

    @contextmanager
    def begin(self, row: Row) -> Iterator[Proposals]:
        if self.fill is None:
            yield _Redraws(None)
            return
        with self.fill.begin(row) as fill:
            yield _Redraws(fill)


@dataclass(frozen=True, slots=True)
class _Redraws:
    fill: Proposals | None

    def propose(self, values: NDArray[np.int64], position: int, most: int) -> NDArray[np.int64]:
        known = values[position : position + most].tolist()
        count = known.index(-1) if -1 in known else len(known)
        if count == most:
            return values[position : position + most]
        if self.fill is None:
            last = int(values[position + count - 1]) if position + count else 0
            return np.array(known[:count] + [last] * (most - count), np.int64)
        more = self.fill.propose(values, position + count, most - count)
        return np.concatenate([values[position : position + count], more])
