"""The interface of proposers, which guess the next values of a row before the model draws them."""

from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from ancestral.dataspec import DataSpec
from ancestral.engine.noise import Noise
from ancestral.engine.runner import Runner
from ancestral.sampling import Sampling


@dataclass(frozen=True, slots=True)
class Row:
    """A row that is about to be drawn.

    Attributes:
        data: space of its events.
        observed: values that it observes by positions, [t]; -1 where free.
        noise: noise that it draws with.
        label: its class, [1], as the graphs take it; None without classes.
        sampling: temperature, filters and bias.
    """

    data: DataSpec
    observed: NDArray[np.int64]
    noise: Noise
    label: NDArray[np.int64] | None
    sampling: Sampling

    @property
    def u(self) -> NDArray[np.float32]:
        """Uniform of each position, [t]; read-only."""
        return self.noise.row(len(self.observed))


@runtime_checkable
class Proposals(Protocol):
    """Proposals for the values of one row."""

    def propose(self, values: NDArray[np.int64], position: int, most: int) -> NDArray[np.int64]:
        """Return proposals for the values at position, position + 1, ..

        Args:
            values: by positions, [t]: values of the sample before `position`; from there on what
                an earlier block drew, given other values before it, or -1 where none did. They
                must not be changed.
            position: next position of the row.
            most: largest number of proposals.

        Returns:
            At most `most` values, [m]. An empty array proposes nothing.
        """


@runtime_checkable
class Proposer(Protocol):
    """Something that proposes values. It decides about the speed of a sample, never its values."""

    @property
    def name(self) -> str:
        """Name for reports."""

    def check(self, runner: Runner) -> None:
        """Check that it can propose values of a model.

        Raises:
            InvalidInput: it cannot; the message says why.
        """

    def seconds(self) -> float:
        """Return the seconds that one proposed value takes; 0 if they do not matter."""

    def begin(self, row: Row) -> AbstractContextManager[Proposals]:
        """Return a context in which the values of one row are proposed."""
