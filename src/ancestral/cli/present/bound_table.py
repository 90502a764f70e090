"""Bounds and codes of a trained model as tables."""

import numpy as np
from numpy.typing import NDArray
from rich.table import Table

from ancestral.cli.output import table
from ancestral.cli.present.evaluation import Progress, baselines, bits_cell, nats_cell
from ancestral.train.bounds import ENGINE, bound, log_likelihood
from ancestral.train.data.dataset import Dataset, Part
from ancestral.train.evaluation import (
    estimate,
    model_log_prob,
)
from ancestral.train.models.autoregressive import AutoregressiveModel
from ancestral.train.models.latent_variable import LatentVariableModel
from ancestral.units import bits_unit

DRAWS = 100
"""Latents of each event."""
_BOUND = "lower bound"
_MARK = "lower bounds are on log p(x), <= marks an upper bound"
_DENSITY = "a density's bounds, of x + u with u ~ U[0, 1), not to be compared with exact bits/dim"

Nats = NDArray[np.float64]


def bound_table(
    model: LatentVariableModel,
    data: Dataset,
    k: int = DRAWS,
    progress: Progress = lambda done, total: None,
) -> Table:
    """ELBO and IWAE of the test part, with standard errors over its events.

    Args:
        model: with a prior of its own.
        data: with the labels that a baseline may use.
        k: latents of each event.
        progress: told how many events of how many are done.
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
    """log p(x | z) + log p(z) of the test part at the codes z that the encoder chooses.

    Args:
        model: over codes.
        prior: of the codes.
        data: with the labels that a baseline may use.
        codes: of the test part.
        label_log_prior: log p(y); None where the prior has no classes.
        progress: told how many classes of how many are done.
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
    """log p(x) in nats of each event, the sum over the classes by Bayes' rule, [n].

    Args:
        model: of p(x | y), or of p(x).
        part: the events.
        label_log_prior: log p(y); None where the model has no classes.
        progress: told how many classes of how many are done.
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
    """Bounds and their terms; below them log p(x) of baselines, unless the bound is a density's."""
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
