"""Fit a table: counts of the training part, the strengths of backing off chosen on validation."""

import functools

import numpy as np

from ancestral.train.data.dataset import Dataset
from ancestral.train.models.table import Table, TableConfig

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
