"""One of the two models of a comparison: its graphs run on sequences of any length."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32, Int64
from numpy.typing import NDArray

from ancestral.engine import budget, draw_checks
from ancestral.engine.runner import Runner
from ancestral.engine.session import Array
from ancestral.errors import NotADistribution
from ancestral.step_tensors import LOG_PROB, LOGITS, REDRAWN, U, X

Labels = NDArray[np.int64] | None
_BLANK = np.float32(0.5)
"""Uniform of positions that are only padding."""


@dataclass(frozen=True, slots=True)
class Side:
    """A model of a comparison.

    Attributes:
        name: what errors call it, "bundle" or "source".
        runner: its engine.
        labels: class of each sequence of the data, [n]; None for a model without classes.
    """

    name: str
    runner: Runner
    labels: Labels

    @property
    def ran_on(self) -> str:
        """Backend, device and dtype."""
        return ran_on(self.runner)

    def rows(self, models: int = 1) -> int:
        """Return how many whole events one call may have, if so many models run at a time."""
        data = self.runner.data
        return max(1, budget.parallel_rows(data.length, data.levels) // models)

    def log_prob(
        self, x: Int64[np.ndarray, "b t"], counted: Bool[np.ndarray, "b t"], at: int
    ) -> Float32[np.ndarray, "b t"]:
        """Return log p of consecutive sequences in nats; 0 where they do not count.

        Args:
            x: the sequences, padded with 0.
            counted: positions that count.
            at: index of the first sequence in the data.

        Raises:
            NotADistribution: a log-probability that counts is NaN.
        """
        found = np.where(counted, self._run(LOG_PROB, at, x=x)[LOG_PROB], np.float32(0))
        with self._named():
            draw_checks.check(found, at)
        return found

    def logits(self, x: Int64[np.ndarray, "b t"], at: int) -> Float32[np.ndarray, "b t v"]:
        """Return the logits of each position of consecutive sequences."""
        return self._run(LOGITS, at, x=x)[LOGITS]

    def redrawn(
        self, x: Int64[np.ndarray, "b t"], u: Float32[np.ndarray, "b t"], at: int
    ) -> NDArray[np.int64]:
        """Return the value, [b, t], that u draws at each position, given the values before it."""
        return self._run("redraw", at, x=x, u=u)[REDRAWN]

    def _run(self, graph: str, at: int, **arrays: Array) -> dict[str, Array]:
        """Run a parallel graph; one of a fixed length gets padding, and its outputs are cut."""
        b, t = arrays[X].shape
        missing = self.runner.data.length - t
        if missing and self.runner.session(graph).signature.input(X).axes[1] != "t":
            blank = {X: np.zeros((b, missing), np.int64), U: np.full((b, missing), _BLANK)}
            arrays = {name: np.hstack([array, blank[name]]) for name, array in arrays.items()}
        labels = None if self.labels is None else self.labels[at : at + b]
        found = self.runner.parallel(graph, labels, **arrays)
        return {name: array[:, :t] for name, array in found.items()}

    @contextmanager
    def _named(self) -> Iterator[None]:
        """Let an error about NaN begin with the name of the model."""
        try:
            yield
        except NotADistribution as error:
            raise NotADistribution(f"{self.name}: {error}") from error


def ran_on(runner: Runner) -> str:
    """Return the backend, the device and the precision of an engine as one text."""
    backend = runner.backend
    return f"{backend.name} {backend.device} {runner.precision}"
