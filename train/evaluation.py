"""Evaluation on held-out events, in nats and bits/dim, and tables as baselines."""

import functools
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import nn

from ancestral.dataspec import DataSpec
from ancestral.errors import InvalidInput
from ancestral.train.data.dataset import Dataset, Part
from ancestral.train.fit import fitted_neighbours
from ancestral.train.models.autoregressive import AutoregressiveModel
from ancestral.train.models.table import Table, TableConfig
from ancestral.units import bits_per_dim

LogProb = Callable[[NDArray[np.int64], NDArray[np.int64] | None], NDArray[np.float64]]
"""(x [n, t], label [n] or None) -> log p(x | label) [n], in nats, summed over the event."""
CELLS = (2, 3, 4)
"""Numbers of cells that are tried for the values of neighbours."""
STRENGTHS = (0.25, 1.0, 4.0, 16.0, 64.0, 256.0)
_ROUNDS = 3
"""Sweeps over the strengths, one strength at a time; they settle after two."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """Mean negative log-likelihood of a part, and the Monte Carlo standard error of that mean.

    Attributes:
        nats: mean per event, summed over its dimensions, in nats.
        nats_error: standard error in nats: standard deviation over events / sqrt(count).
        bits_per_dim: mean in bits/dim: nats / (dims ln 2).
        bits_per_dim_error: standard error in bits/dim.
        count: number of events.
    """

    nats: float
    nats_error: float
    bits_per_dim: float
    bits_per_dim_error: float
    count: int


@dataclass(frozen=True, slots=True)
class Estimates:
    """Estimates of the negative log-likelihood.

    Attributes:
        marginal: estimate of E[-log p(x)].
        conditional: estimate of E[-log p(x | y)]; None for events without labels.
    """

    marginal: Estimate
    conditional: Estimate | None


def evaluate(
    log_prob: LogProb,
    part: Part,
    spec: DataSpec,
    label_log_prior: Float[np.ndarray, " k"] | None = None,
) -> Estimates:
    """Estimate E[-log p(x)] and E[-log p(x | y)] over the events of a part.

    The expectation of -log p over the data is the forward Kullback-Leibler divergence KL(data || p)
    plus the entropy of the data, which no model changes: minimising one minimises the other.

    Args:
        log_prob: log-probability under the model or a baseline.
        part: the events.
        spec: space of the events.
        label_log_prior: log p(y) of each class, [k], in nats; None for events without labels.

    Raises:
        InvalidInput: the part is empty, or its events have labels and `label_log_prior` is None.
    """
    if len(part) == 0:
        raise InvalidInput("part: expected at least one event, got 0")
    if part.label is None:
        return Estimates(estimate(log_prob(part.x, None), spec), None)
    if label_log_prior is None:
        raise InvalidInput(
            "label_log_prior: expected log p(y) of each class for events with labels, got None"
        )
    joint = np.stack(
        [log_prob(part.x, np.full(len(part), y, np.int64)) for y in range(len(label_log_prior))],
        axis=1,
    )
    own = joint[np.arange(len(part)), part.label]
    marginal = np.logaddexp.reduce(joint + label_log_prior, axis=1)
    return Estimates(estimate(marginal, spec), estimate(own, spec))


def estimate(log_prob: Float[np.ndarray, " n"], spec: DataSpec) -> Estimate:
    """Return the mean and standard error of -log p; the error of a single event is infinite."""
    count = len(log_prob)
    nats = -float(log_prob.mean())
    error = float(log_prob.std(ddof=1)) / math.sqrt(count) if count > 1 else math.inf
    # An error is a length, not a log-probability: only its unit changes.
    scale = abs(float(bits_per_dim(1.0, spec.event_shape)))
    return Estimate(nats, error, float(bits_per_dim(-nats, spec.event_shape)), error * scale, count)


@contextmanager
def evaluating(module: nn.Module | None) -> Iterator[torch.device]:
    """Set a module to evaluation mode without gradients; restore the mode of each part afterwards.

    Args:
        module: module to evaluate; None changes nothing.

    Yields:
        The device of the module's first tensor; the CPU if it has none.
    """
    parts = [] if module is None else [(part, part.training) for part in module.modules()]
    tensors = [] if module is None else [*module.parameters(), *module.buffers()]
    for part, _ in parts:
        part.training = False
    try:
        with torch.no_grad():
            yield tensors[0].device if tensors else torch.device("cpu")
    finally:
        for part, training in parts:
            part.training = training


def model_log_prob(
    model: AutoregressiveModel,
    batch: int = 256,
    progress: Callable[[int], object] = lambda events: None,
) -> LogProb:
    """Return log p(x | y) under a model, as a function; it runs in batches, without dropout.

    Args:
        model: model whose training mode is restored after each call.
        batch: number of events per batch.
        progress: function called with the number of events of each finished batch.
    """

    def log_prob(x: NDArray[np.int64], label: NDArray[np.int64] | None) -> NDArray[np.float64]:
        parts = []
        with evaluating(model) as device:
            for first in range(0, len(x), batch):
                rows = slice(first, first + batch)
                y = None if label is None else torch.from_numpy(label[rows]).to(device)
                parts.append(model.log_prob(torch.from_numpy(x[rows]).to(device), y))
                progress(len(parts[-1]))
        return torch.cat(parts).double().cpu().numpy()

    return log_prob


def mean_bits(log_prob: LogProb, part: Part, event_shape: tuple[int, ...]) -> float:
    """Return the mean bits/dim of p(x | y), or of p(x) for events without labels."""
    return float(bits_per_dim(log_prob(part.x, part.label), event_shape).mean())


def evaluate_model(
    model: AutoregressiveModel,
    part: Part,
    label_log_prior: NDArray[np.float64] | None,
    progress: Callable[[int, int], object] = lambda done, total: None,
) -> Estimates:
    """Call `evaluate` for a model.

    Args:
        model: model of the events.
        part: the events.
        label_log_prior: log p(y) of each class, [k], in nats; None for events without labels.
        progress: function called with the number of finished evaluations and their total; each
            event counts once for every class.

    Raises:
        InvalidInput: as in `evaluate`.
    """
    done, total = 0, len(part) * (1 if label_log_prior is None else len(label_log_prior))

    def count(events: int) -> None:
        nonlocal done
        done += events
        progress(done, total)

    return evaluate(model_log_prob(model, progress=count), part, model.data, label_log_prior)


def fit_table(config: TableConfig, data: Dataset) -> Table:
    """Fit a table to the training part, with the strengths that predict the validation part best.

    Raises:
        InvalidInput: the configuration does not fit the data (see `Table`).
    """
    table = Table(config, data.spec).eval()
    counts = table.counts(data.train.x, data.train.label)
    count = 1 + (data.spec.num_classes is not None) + len(config.neighbours)
    chosen: tuple[float, ...] = (1.0,) * count
    x, held_out = data.validation.x, table.contexts(data.validation.x, data.validation.label)

    @functools.cache
    def nats(strengths: tuple[float, ...]) -> float:
        """Return the mean nats of a value of the validation part."""
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
    """Return the baseline p(x) = prod_i p_i(x_i): independent values; labels are not used."""
    log_prob = model_log_prob(fit_table(TableConfig(per_position=True), data.without_labels()))
    return lambda x, label: log_prob(x, None)


def neighbour_table(data: Dataset) -> LogProb:
    """Return the baseline p(x | y) = prod_i p_i(x_i | y, upper, left neighbour).

    The number of cells is the one that predicts the validation part best. Images of one row or
    column have only one of the two neighbours.

    Raises:
        InvalidInput: the events are not images [height, width].
    """
    if len(data.spec.event_shape) != 2:
        raise InvalidInput(f"data: expected events [height, width], got {data.spec.event_shape}")
    offsets = fitted_neighbours(((-1, 0), (0, -1)), data.spec)
    fits = [
        model_log_prob(
            fit_table(TableConfig(neighbours=offsets, cells=cells, per_position=True), data)
        )
        for cells in CELLS
    ]
    return min(fits, key=lambda fit: mean_bits(fit, data.validation, data.spec.event_shape))
