"""What a model must beat: two tables, counted on the training part, smoothed by validation."""

from ancestral.errors import InvalidInput
from ancestral.train.data.dataset import Dataset
from ancestral.train.evaluation import LogProb, mean_bits, model_log_prob
from ancestral.train.fit import fitted_neighbours
from ancestral.train.models.table import TableConfig
from ancestral.train.tables import fit_table

CELLS = (2, 3, 4)
"""Numbers of cells in which neighbours are told apart, that are tried."""


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
