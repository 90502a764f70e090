"""Events of data as a model takes them: the values of the file, or binary values from them."""

import numpy as np
from numpy.typing import NDArray

from ancestral.arrays import check_range, integers
from ancestral.binarisation import binarised
from ancestral.bulk.draws import spans
from ancestral.bulk.rows import Rows
from ancestral.dataspec import DataSpec
from ancestral.errors import InvalidInput


def check_levels(levels: int | None, data: DataSpec) -> None:
    """Check that events are made binary only for a model with 2 levels.

    Args:
        levels: number of levels of the data that are made binary; None leaves them as they are.
        data: the space of the model's events.

    Raises:
        InvalidInput: the model has another number of levels.
    """
    if levels is not None and data.levels != 2:
        raise InvalidInput(
            f"--binarise: expected a model with 2 levels, got one with {data.levels}; leave it out"
        )


def events_of(rows: Rows, first: int, data: DataSpec, levels: int | None) -> NDArray[np.generic]:
    """Return the events of rows.

    Args:
        rows: rows of data.
        first: index of the first one in the job; the event with index i is binarised with noise i.
        data: the space of the model's events.
        levels: as in `check_levels`.

    Raises:
        InvalidInput: the rows are texts, or have values that are not in 0 .. levels - 1.
    """
    if isinstance(rows.values, list):
        option = "--binarise: " if levels is not None else ""
        raise InvalidInput(
            f"{option}expected events x, got texts; texts are scored by `ancestral bulk log-prob` "
            f"without --binarise"
        )
    if levels is None:
        _check_binary(rows.values, data)
        return rows.values
    values = integers("x", rows.values)
    check_range("x", values, 0, levels - 1)
    flat = values.reshape(len(values), -1)
    bits = [
        binarised(
            flat[span.first - first :][: span.count],
            levels,
            np.arange(span.first_index, span.first_index + span.count),
            span.seed,
        )
        for span in spans(0, first, len(rows))
    ]
    return np.concatenate(bits).reshape(values.shape)


def _check_binary(x: NDArray[np.generic], data: DataSpec) -> None:
    """Suggest --binarise for values above 1 and a model with 2 levels."""
    if data.levels == 2 and x.dtype.kind in "iu" and x.size and int(x.max()) > 1:
        raise InvalidInput(
            f"x: expected values in 0 .. 1, got {x.max()}: pass --binarise and --levels if the "
            f"model was trained with `ancestral train --binarise`"
        )
