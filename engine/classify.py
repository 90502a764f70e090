"""Classes of events by Bayes' rule: p(y | x) = p(x | y) p(y) / sum over y of p(x | y) p(y).

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
    """What a model with classes says of the class of each event.

    Attributes:
        log_posterior: log p(y | x) in nats, normalised over the k classes, [n, k].
        log_joint: log p(x, y) = log p(x | y) + log p(y) in nats, [n, k]; summed over the classes in
            the linear domain it is p(x).
        label: the most probable class, the lowest of equals, [n].
    """

    log_posterior: NDArray[np.float64]
    log_joint: NDArray[np.float64]
    label: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.label)


def classify(runner: Runner, x: ArrayLike) -> Classification:
    """p(y | x) of each event by Bayes' rule, under the label prior p(y) of the training data.

    Every event is evaluated under every class. "No label", which some models know beside their
    classes, is none of them.

    Args:
        runner: a bundle on a backend.
        x: integers in 0 .. levels - 1, [n, *event_shape] or [n, t].

    Raises:
        InvalidInput: x is wrong, the model has no classes, or none of them gives an event any
            probability.
        NotADistribution: a log-probability is NaN.
    """
    events = inputs.events(x, runner.data)
    prior = runner.bundle.manifest.label_prior
    if prior is None:
        raise InvalidInput(
            "classify: expected a model of p(x | y), got one without classes: train it on data "
            "with labels"
        )
    with np.errstate(divide="ignore"):
        log_prior = np.log(np.asarray(prior, np.float64))
    log_joint = _log_likelihood(runner, events, len(prior)) + log_prior
    unsound = np.flatnonzero(np.isnan(log_joint).any(axis=1))
    if len(unsound):
        raise NotADistribution(
            f"x: expected log p(x | y) of every event, got NaN at index {unsound[0]}: the weights "
            f"may hold NaN, or activations overflow in this dtype"
        )
    evidence = np.logaddexp.reduce(log_joint, axis=1)
    impossible = np.flatnonzero(evidence == -np.inf)
    if len(impossible):
        raise InvalidInput(
            f"x: expected events that some class gives a probability, got one of probability 0 "
            f"under all {len(prior)} at index {impossible[0]}: leave it out"
        )
    return Classification(
        log_joint - evidence[:, None], log_joint, log_joint.argmax(axis=1).astype(np.int64)
    )


def _log_likelihood(
    runner: Runner, x: Int64[np.ndarray, "n t"], classes: int
) -> Float64[np.ndarray, "n k"]:
    """log p(x | y) of each event under each class, in nats; those of an event side by side."""
    step = budget.fitting(budget.LABELLED, classes)
    parts = []
    for start in range(0, len(x), step):
        events = x[start : start + step]
        label = np.tile(np.arange(classes, dtype=np.int64), len(events))
        rows = np.repeat(events, classes, axis=0)
        log_prob = log_prob_of(runner, rows, label)
        parts.append(log_prob.sum(axis=1, dtype=np.float64).reshape(len(events), classes))
    return np.concatenate(parts)
