"""Fit a table: counts of the training part, the strengths of backing off chosen on validation."""

import numpy as np
from numpy.typing import NDArray

from ancestral.dataspec import DataSpec
from ancestral.train.data.dataset import Dataset, Part
from ancestral.train.evaluation import mean_bits, model_log_prob
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
    count = 1 + (data.spec.num_classes is not None) + len(config.neighbours)
    chosen: tuple[float, ...] = (1.0,) * count
    seen: dict[tuple[float, ...], float] = {}

    def bits(strengths: tuple[float, ...]) -> float:
        if strengths not in seen:
            table.fit(data.train.x, data.train.label, strengths)
            score = mean_bits(model_log_prob(table), data.validation, data.spec.event_shape)
            seen[strengths] = score
        return seen[strengths]

    for _ in range(_ROUNDS):
        before = chosen
        for i in range(len(chosen)):
            tried = [(*chosen[:i], strength, *chosen[i + 1 :]) for strength in STRENGTHS]
            chosen = tried[int(np.argmin([bits(each) for each in tried]))]
        if chosen == before:
            break
    table.fit(data.train.x, data.train.label, chosen)
    return table


class WithoutLabels:
    """A table of p(x), fitted and asked without the labels that the events have."""

    def __init__(self, config: TableConfig, data: Dataset) -> None:
        spec: DataSpec = data.spec.model_copy(update={"num_classes": None})
        parts = [Part(part.x, None) for part in (data.train, data.validation, data.test)]
        self.table = fit_table(config, Dataset(spec, data.split, *parts))

    def log_prob(
        self, x: NDArray[np.int64], label: NDArray[np.int64] | None
    ) -> NDArray[np.float64]:
        """log p(x) in nats, [n], whatever the label."""
        return model_log_prob(self.table)(x, None)
