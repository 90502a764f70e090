"""How good a trained model is on held-out events, with baselines: the table of `train`."""

from collections.abc import Callable

from rich.table import Table

from ancestral.cli.output import table
from ancestral.train.data.dataset import Dataset
from ancestral.train.evaluation import (
    CELLS,
    Estimate,
    Estimates,
    evaluate,
    evaluate_model,
    independent_values,
    neighbour_table,
)
from ancestral.train.models.autoregressive import AutoregressiveModel
from ancestral.units import bits_unit, fixed

_LARGEST = 2**24
"""Maximum number of entries in the table of a baseline; larger baselines are left out."""

Progress = Callable[[int, int], object]


def evaluation_table(
    model: AutoregressiveModel,
    data: Dataset,
    progress: Progress = lambda done, total: None,
) -> Table:
    """Return a table of bits and nats on the test part, with standard errors over its events."""
    results = {
        "model": evaluate_model(model, data.test, data.label_log_prior(), progress),
        **baselines(data),
    }
    conditional = data.spec.num_classes is not None
    unit = bits_unit(data.spec.tokenizer)
    heads = [f"{unit}, p(x)", *([f"{unit}, p(x|y)"] if conditional else []), "nats, p(x)"]
    return table(
        f"{len(data.test)} test events of {data.spec.name}, +- standard error",
        ("", *heads),
        [
            (
                name,
                *(bits_cell(each) for each in (found.marginal, found.conditional) if each),
                nats_cell(found.marginal),
            )
            for name, found in results.items()
        ],
    )


def baselines(data: Dataset) -> dict[str, Estimates]:
    """Return the results of the baselines that suit the data and fit in memory, by name."""
    spec, tables = data.spec, {}
    numbers = spec.length * spec.levels
    if numbers <= _LARGEST:
        tables[f"independent {values_name(data)}"] = independent_values(data)
    numbers *= (spec.num_classes or 1) * (max(CELLS) + 1) ** 2
    if len(spec.event_shape) == 2 and spec.length > 1 and numbers <= _LARGEST:
        tables["neighbour table"] = neighbour_table(data)
    prior = data.label_log_prior()
    return {name: evaluate(each, data.test, spec, prior) for name, each in tables.items()}


def values_name(data: Dataset) -> str:
    """Return what the values of an event are called: bytes, pixels, or values."""
    if data.spec.tokenizer == "bytes":
        return "bytes"
    return "values" if len(data.spec.event_shape) == 1 else "pixels"


def bits_cell(each: Estimate) -> str:
    """Return bits per dimension with their standard error."""
    return f"{fixed(each.bits_per_dim, 4)} +- {fixed(each.bits_per_dim_error, 4)}"


def nats_cell(each: Estimate, sign: int = 1) -> str:
    """Return nats per event with their standard error.

    Args:
        each: the estimate of -log p.
        sign: 1 for -log p, -1 for log p.
    """
    return f"{fixed(sign * each.nats, 3)} +- {fixed(each.nats_error, 3)}"
