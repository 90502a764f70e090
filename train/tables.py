"""Tables fitted to data: counts of the training part, smoothed by validation; as baselines too."""

import functools

import numpy as np

from ancestral.errors import InvalidInput
from ancestral.train.data.dataset import Dataset
from ancestral.train.evaluation import LogProb, mean_bits, model_log_prob
from ancestral.train.fit import fitted_neighbours
from ancestral.train.models.table import Table, TableConfig

CELLS = (2, 3, 4)
"""Numbers of cells in which neighbours are told apart, that are tried."""
STRENGTHS = (0.25, 1.0, 4.0, 16.0, 64.0, 256.0)
_ROUNDS = 3
"""Sweeps over the strengths, one at a time; they settle after two."""


def fit_table(config: TableConfig, data: Dataset) -> Table:
    """The table of a configuration that predicts the validation part best.

    Raises:
        InvalidInput: configuration and data do not fit together (see Table).
    """
    table = Table(config, data.spec).eval()
    counts = table.counts(data.train.x, data.train.label)
    count = 1 + (data.spec.num_classes is not None) + len(config.neighbours)
    chosen: tuple[float, ...] = (1.0,) * count
    x, held_out = data.validation.x, table.contexts(data.validation.x, data.validation.label)

    @functools.cache
    def nats(strengths: tuple[float, ...]) -> float:
        """Of the validation part, a value."""
        return -float(np.log(table.estimate(counts, strengths)[(*held_out, x)]).mean())

    for _ in range(_ROUNDS):
        before = chosen
        for i in range(len(chosen)):
            tried = [(*chosen[:i], strength, *chosen[i + 1 :]) for strength in STRENGTHS]
            chosen = tried[int(np.argmin([nats(each) for each in tried]))]
        if chosen == before:
            break
    table.smooth(counts, chosen)
    return table


def independent_values(data: Dataset) -> LogProb:
    """p(x) = prod_i p_i(x_i): the value at each position by itself, labels unused."""
    log_prob = model_log_prob(fit_table(TableConfig(per_position=True), data.without_labels()))
    return lambda x, label: log_prob(x, None)


def neighbour_table(data: Dataset) -> LogProb:
    """p(x | y) = prod_i p_i(x_i | y, upper, left neighbour), in as many cells as suit validation.

    Images of one row or column have only one of the two neighbours.

    Raises:
        InvalidInput: the events are no images [height, width].
    """
    if len(data.spec.event_shape) != 2:
        raise InvalidInput(f"expected events [height, width], got {data.spec.event_shape}")
    offsets = fitted_neighbours(((-1, 0), (0, -1)), data.spec)
    fits = [
        model_log_prob(
            fit_table(TableConfig(neighbours=offsets, cells=cells, per_position=True), data)
        )
        for cells in CELLS
    ]
    return min(fits, key=lambda fit: mean_bits(fit, data.validation, data.spec.event_shape))
