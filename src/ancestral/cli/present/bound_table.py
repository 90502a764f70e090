"""Bounds and codes of a trained model as tables."""

import numpy as np
from numpy.typing import NDArray
from rich.table import Table

from ancestral.cli.output import table
from ancestral.cli.present.evaluation import Progress, baselines, bits_cell, nats_cell
from ancestral.train.bounds import ENGINE, bound, log_likelihood
from ancestral.train.data.dataset import Dataset, Part
from ancestral.train.evaluation import estimate, model_log_prob
from ancestral.train.models.autoregressive import AutoregressiveModel
from ancestral.train.models.latent_variable import LatentVariableModel
from ancestral.units import bits_unit

DRAWS = 100
"""Number of latents of each event."""
_BOUND = "lower bound"
_MARK = "lower bounds are on log p(x), <= marks an upper bound"
_DENSITY = "bounds on the density of x + u, u ~ U[0, 1): do not compare them with exact bits/dim"

Nats = NDArray[np.float64]


def bound_table(
    model: LatentVariableModel,
    data: Dataset,
    k: int = DRAWS,
    progress: Progress = lambda done, total: None,
) -> Table:
    """Return a table of ELBO and IWAE on the test part, with standard errors over its events.

    Args:
        model: a latent variable model that contains its prior.
        data: the data; baselines may use its labels.
        k: number of latents of each event.
        progress: called with the number of events done and their total.
    """
    found = bound(model, data.test.x, k, streams=ENGINE, progress=progress)
    rows = {
        f"ELBO, {_BOUND}": found.elbo,
        f"IWAE of {k} draws, {_BOUND}": found.iwae,
        "  reconstruction, E log p(x|z)": found.reconstruction,
        "  -KL(q(z|x) || p(z))": -found.kl,
    }
    return _bounds_table(rows, model, data)


def code_table(
    model: LatentVariableModel,
    prior: AutoregressiveModel,
    data: Dataset,
    codes: Part,
    label_log_prior: Nats | None,
    progress: Progress = lambda done, total: None,
) -> Table:
    """Return a table of log p(x | z) + log p(z) on the test part, z being the encoder's codes.

    Args:
        model: a model with codes.
        prior: the prior of the codes.
        data: the data; baselines may use its labels.
        codes: the codes of the test part.
        label_log_prior: log p(y), [classes]; None if the prior has no classes.
        progress: called with the number of classes done and their total.
    """
    reconstruction = log_likelihood(model, data.test.x, ENGINE)
    log_prior = marginal(prior, codes, label_log_prior, progress)
    rows = {
        f"log p(x|z) p(z), {_BOUND}": reconstruction + log_prior,
        "  reconstruction, log p(x|z)": reconstruction,
        f"  prior, log p(z) of {codes.x.shape[1]} codes": log_prior,
    }
    return _bounds_table(rows, model, data)


def marginal(
    model: AutoregressiveModel,
    part: Part,
    label_log_prior: Nats | None,
    progress: Progress = lambda done, total: None,
) -> Nats:
    """Return log p(x) of each event in nats, [n]: p(x | y) p(y) summed over the classes.

    Args:
        model: a model of p(x | y), or of p(x).
        part: the events.
        label_log_prior: log p(y), [classes]; None if the model has no classes.
        progress: called with the number of classes done and their total.
    """
    log_prob = model_log_prob(model)
    if label_log_prior is None:
        return log_prob(part.x, None)
    joint = np.empty((len(label_log_prior), len(part)))
    for y, each in enumerate(label_log_prior):
        joint[y] = log_prob(part.x, np.full(len(part), y, np.int64)) + each
        progress(y + 1, len(joint))
    return np.asarray(np.logaddexp.reduce(joint, axis=0))


def _bounds_table(rows: dict[str, Nats], model: LatentVariableModel, data: Dataset) -> Table:
    """Return a table of bounds and their terms, and of baselines unless x has a density."""
    density = model.observation.continuous
    found = {name: estimate(nats, data.spec) for name, nats in rows.items()}
    if not density:
        found |= {f"{name}, log p(x)": each.marginal for name, each in baselines(data).items()}
    cells = [
        (name, f"{'<= ' if _BOUND in name else ''}{bits_cell(each)}", nats_cell(each, -1))
        for name, each in found.items()
    ]
    title = f"{len(data.test)} test events of {data.spec.name}, +- standard error"
    heads = ("", bits_unit(data.spec.tokenizer), "nats")
    return table(f"{title}; {_DENSITY if density else _MARK}", heads, cells)
