"""What a model must beat: counts of the training part, smoothed; the strength chosen on validation.

Counts c over v values become p = (c + s q) / (sum c + s), the mean of a Dirichlet posterior whose
prior mean is q and whose strength is s (a coarser table, or 1/v).
"""

import math
from dataclasses import dataclass
from itertools import product
from typing import final

import numpy as np
from jaxtyping import Float, Int64
from numpy.typing import NDArray

from ancestral.dataspec import DataSpec
from ancestral.errors import InvalidInput
from ancestral.train.data.dataset import Dataset, Part
from ancestral.train.evaluation import LogProb, mean_bits

STRENGTHS = (1.0, 4.0, 16.0, 64.0)
CELLS = (2, 3, 4, 6)


@final
@dataclass(frozen=True, slots=True)
class IndependentPixels:
    """p(x) = prod_i p_i(x_i): every position by itself, labels unused.

    Attributes:
        table: log p_i(value), [t, v].
    """

    table: Float[NDArray[np.float64], "t v"]

    def log_prob(
        self, x: Int64[NDArray[np.int64], "n t"], label: NDArray[np.int64] | None
    ) -> Float[NDArray[np.float64], " n"]:
        """log p(x) in nats, summed over the event, whatever the label."""
        return np.asarray(self.table[np.arange(x.shape[1]), x].sum(axis=1))


@final
@dataclass(frozen=True, slots=True)
class NeighbourTable:
    """p(x | y) = prod_i p_i(x_i | y, left neighbour, upper neighbour), the neighbours in cells.

    Attributes:
        table: log p_i(value | class, left cell, upper cell), [t, k, c + 1, c + 1, v]; cell c is
            outside of the image.
        spec: the space of events.
    """

    table: Float[NDArray[np.float64], "t k l u v"]
    spec: DataSpec

    def log_prob(
        self, x: Int64[NDArray[np.int64], "n t"], label: Int64[NDArray[np.int64], " n"] | None
    ) -> Float[NDArray[np.float64], " n"]:
        """log p(x | y) in nats, summed over the event; without labels there is one class, 0."""
        left, upper = _neighbours(x, self.spec, self.table.shape[2] - 1)
        y = np.zeros(len(x), np.int64) if label is None else label
        return np.asarray(self.table[np.arange(x.shape[1]), y[:, None], left, upper, x].sum(axis=1))


def fit_independent_pixels(data: Dataset) -> IndependentPixels:
    """Counts of each position; the strength in STRENGTHS that is best on validation."""
    counts = np.zeros((data.spec.length, data.spec.levels))
    np.add.at(counts, (np.arange(data.spec.length), data.train.x), 1)
    fits = [IndependentPixels(np.log(_smooth(counts, 1 / data.spec.levels, s))) for s in STRENGTHS]
    return min(fits, key=lambda fit: _validation(fit.log_prob, data))


def fit_neighbour_table(data: Dataset) -> NeighbourTable:
    """Counts at each position, given the class and the cells of the left and upper neighbours.

    They are smoothed toward the counts given the class alone, those toward the counts of the
    position. Number of cells and both strengths are those in CELLS and STRENGTHS that are best on
    validation.

    Raises:
        InvalidInput: the events are no images [height, width].
    """
    if len(data.spec.event_shape) != 2:
        raise InvalidInput(f"expected events [height, width], got {data.spec.event_shape}")
    best, least = None, math.inf
    for cells in CELLS:
        counts = _neighbour_counts(data.train, data.spec, cells)
        by_class = counts.sum(axis=(2, 3))
        position = _smooth(by_class.sum(axis=1), 1 / data.spec.levels, 1.0)
        for outer, inner in product(STRENGTHS, STRENGTHS):
            given_class = _smooth(by_class, position[:, None], outer)
            smoothed = _smooth(counts, given_class[:, :, None, None], inner)
            fit = NeighbourTable(np.log(smoothed), data.spec)
            bits = _validation(fit.log_prob, data)
            if best is None or bits < least:
                best, least = fit, bits
    assert best is not None
    return best


def _neighbour_counts(part: Part, spec: DataSpec, cells: int) -> NDArray[np.float64]:
    counts = np.zeros((spec.length, spec.num_classes or 1, cells + 1, cells + 1, spec.levels))
    y = np.zeros(len(part), np.int64) if part.label is None else part.label
    left, upper = _neighbours(part.x, spec, cells)
    np.add.at(counts, (np.arange(spec.length), y[:, None], left, upper, part.x), 1)
    return counts


def _neighbours(
    x: Int64[NDArray[np.int64], "n t"], spec: DataSpec, cells: int
) -> tuple[Int64[NDArray[np.int64], "n t"], Int64[NDArray[np.int64], "n t"]]:
    """Cell of the left and of the upper neighbour of each pixel; `cells` outside of the image."""
    image = (x * cells // spec.levels).reshape(-1, *spec.event_shape)
    left = np.pad(image[:, :, :-1], ((0, 0), (0, 0), (1, 0)), constant_values=cells)
    upper = np.pad(image[:, :-1], ((0, 0), (1, 0), (0, 0)), constant_values=cells)
    return left.reshape(x.shape), upper.reshape(x.shape)


def _smooth(
    counts: NDArray[np.float64], mean: NDArray[np.float64] | float, strength: float
) -> NDArray[np.float64]:
    total = counts.sum(axis=-1, keepdims=True)
    return np.asarray((counts + strength * mean) / (total + strength))


def _validation(log_prob: LogProb, data: Dataset) -> float:
    return mean_bits(log_prob, data.validation, data.spec.event_shape)
