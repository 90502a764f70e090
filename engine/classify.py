"""Classify events by Bayes' rule: p(y | x) = p(x | y) p(y) / sum over y of p(x | y) p(y).

References:
    Ng and Jordan (2001), On discriminative vs. generative classifiers, NeurIPS 14.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int64
from numpy.typing import ArrayLike, NDArray

from ancestral.engine import budget, inputs
from ancestral.engine.likelihood import log_prob_of
from ancestral.engine.runner import Runner
from ancestral.errors import InvalidInput, NotADistribution


@dataclass(frozen=True, slots=True)
class Classification:
    """Probabilities of the k classes of each event.

    Attributes:
        log_posterior: log p(y | x) in nats, normalised over the classes, [n, k].
        log_joint: log p(x, y) = log p(x | y) + log p(y) in nats, [n, k]; its logsumexp over the
            classes is log p(x).
        label: most probable class of each event, [n]; the lowest index in a tie.
    """

    log_posterior: NDArray[np.float64]
    log_joint: NDArray[np.float64]
    label: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.label)


def classify(runner: Runner, x: ArrayLike) -> Classification:
    """Return p(y | x) of each event by Bayes' rule, with the p(y) of the bundle.

    `export_bundle` stores p(y): `ancestral export` writes the class frequencies of the training
    data; the default is uniform. Every event is evaluated under every class. "No label", which some
    models accept in addition to their classes, is not a class here.

    Args:
        runner: the engine.
        x: events of integers in 0 .. levels - 1, [n, *event_shape] or [n, t].

    Returns:
        A `Classification`: log p(y | x) and log p(x, y), in nats, [n, k], and the most probable
        class, [n].

    Raises:
        InvalidInput: `x` has the wrong shape or a value out of range, the model has no classes, or
            an event has probability 0 under every class.
        NotADistribution: a log-probability is NaN.
        BundleError: the weights have changed since the bundle was opened.

    References:
        Ng and Jordan (2001), On discriminative vs. generative classifiers, NeurIPS 14.

    For example:

        found = engine.classify(x)
        (found.label == y).mean()  # accuracy
    """
    events = inputs.events(x, runner.data)
    prior = runner.bundle.manifest.label_prior
    if prior is None:
        raise InvalidInput(
            "classify: expected a model with classes, got one without classes; train it on data "
            "with labels"
        )
    with np.errstate(divide="ignore"):
        log_prior = np.log(np.asarray(prior, np.float64))
    log_joint = _log_likelihood(runner, events, len(prior)) + log_prior
    unsound = np.flatnonzero(np.isnan(log_joint).any(axis=1))
    if len(unsound):
        raise NotADistribution(
            f"x: log p(x | y) is NaN at index {unsound[0]}; the weights may contain NaN, or "
            f"activations may overflow in this dtype"
        )
    evidence = np.logaddexp.reduce(log_joint, axis=1)
    impossible = np.flatnonzero(evidence == -np.inf)
    if len(impossible):
        raise InvalidInput(
            f"x: the event at index {impossible[0]} has probability 0 under all {len(prior)} "
            f"classes; leave it out"
        )
    return Classification(
        log_joint - evidence[:, None], log_joint, log_joint.argmax(axis=1).astype(np.int64)
    )


def _log_likelihood(
    runner: Runner, x: Int64[np.ndarray, "n t"], classes: int
) -> Float64[np.ndarray, "n k"]:
    """Return log p(x | y) of each event under each class, in nats."""
    step = budget.fitting(budget.LABELLED, classes)
    parts = []
    for start in range(0, len(x), step):
        events = x[start : start + step]
        label = np.tile(np.arange(classes, dtype=np.int64), len(events))
        rows = np.repeat(events, classes, axis=0)
        log_prob = log_prob_of(runner, rows, label)
        parts.append(log_prob.sum(axis=1, dtype=np.float64).reshape(len(events), classes))
    return np.concatenate(parts)
