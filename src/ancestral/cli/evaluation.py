"""How good a trained model is on held-out events, beside baselines: the table of `train`."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from ancestral.cli.output import table
from ancestral.train.baselines import CELLS, independent_pixels, neighbour_table
from ancestral.train.data import Dataset
from ancestral.train.evaluation import Estimate, Evaluation, evaluate, evaluate_model

if TYPE_CHECKING:
    from rich.table import Table

    from ancestral.train.models.autoregressive import AutoregressiveModel

_LARGEST = 2**24
"""Numbers that the table of a baseline may hold; a larger one is left out."""


def evaluation_table(
    model: "AutoregressiveModel",
    data: Dataset,
    progress: Callable[[int, int], object] = lambda done, total: None,
) -> "Table":
    """Bits/dim and nats on the test part, with standard errors over its events."""
    results = {
        "model": evaluate_model(model, data.test, data.label_log_prior(), progress),
        **baselines(data),
    }
    conditional = data.spec.num_classes is not None
    heads = ["bits/dim of p(x)", *(["bits/dim of p(x|y)"] if conditional else []), "nats of p(x)"]
    return table(
        f"{len(data.test)} test events of {data.spec.name}, +- standard error",
        ("", *heads),
        [(name, *_cells(result)) for name, result in results.items()],
    )


def baselines(data: Dataset) -> dict[str, Evaluation]:
    """By name, those that suit the data and fit in memory."""
    spec, results = data.spec, {}
    prior = data.label_log_prior()
    numbers = spec.length * spec.levels
    if numbers <= _LARGEST:
        pixels = independent_pixels(data)
        results["independent pixels"] = evaluate(pixels, data.test, spec, prior)
    numbers *= (spec.num_classes or 1) * (max(CELLS) + 1) ** 2
    if len(spec.event_shape) == 2 and numbers <= _LARGEST:
        neighbours = neighbour_table(data)
        results["neighbour table"] = evaluate(neighbours, data.test, spec, prior)
    return results


def _cells(result: Evaluation) -> list[str]:
    bits = [result.marginal, *([] if result.conditional is None else [result.conditional])]
    return [
        *(f"{each.bits_per_dim:.4f} +- {each.bits_per_dim_error:.4f}" for each in bits),
        _nats(result.marginal),
    ]


def _nats(estimate: Estimate) -> str:
    return f"{estimate.nats:.3f} +- {estimate.nats_error:.3f}"
