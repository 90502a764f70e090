"""Classes of events by Bayes' rule: p(y | x) = p(x | y) p(y) / sum over y of p(x | y) p(y).

`calibration` says how far the probabilities that a classifier states can be trusted.

References:
    Ng and Jordan (2001), On discriminative vs. generative classifiers, NeurIPS 14.
"""

import math
from dataclasses import asdict, dataclass

import numpy as np
from jaxtyping import Float64, Int64
from numpy.typing import ArrayLike, NDArray

from ancestral.engine import budget, inputs
from ancestral.engine.inputs import class_labels
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


BINS = 10


@dataclass(frozen=True, slots=True)
class Bin:
    """Events whose largest p(y | x) lies in (low, high].

    Attributes:
        low: lower end of the bin.
        high: its upper end.
        count: how many events lie in it.
        confidence: mean of their largest p(y | x); NaN where there are none.
        accuracy: share of them whose most probable class is the true one; NaN where there are none.
    """

    low: float
    high: float
    count: int
    confidence: float
    accuracy: float


@dataclass(frozen=True, slots=True)
class Calibration:
    """A classification beside the true classes.

    Attributes:
        events: how many.
        accuracy: share of events whose most probable class is the true one.
        accuracy_error: its standard error, over events; NaN of a single one.
        log_loss: mean of -log p(true class | x), in nats.
        expected_error: expected calibration error: mean over events of |accuracy - confidence| of
            the bin that each is in; 0 is perfect, 1 the worst. Few events in a bin bias it upwards.
        bins: of equal width, from 0 to 1.
    """

    events: int
    accuracy: float
    accuracy_error: float
    log_loss: float
    expected_error: float
    bins: tuple[Bin, ...]

    def to_json(self) -> dict[str, object]:
        """All fields, each bin as an object."""
        return asdict(self)


def calibration(result: Classification, labels: ArrayLike | int) -> Calibration:
    """Compare a classification with the true classes.

    Args:
        result: of n >= 1 events.
        labels: the true class of each, [n], or one for all.

    Raises:
        InvalidInput: labels of another shape or type, or one that is no class.

    References:
        Guo, Pleiss, Sun, Weinberger (2017), On calibration of modern neural networks,
        arXiv:1706.04599, equation 3.
    """
    n, k = result.log_posterior.shape
    truth = class_labels(labels, n, k)
    correct = (result.label == truth).astype(np.float64)
    confidence = np.exp(result.log_posterior.max(axis=1))
    bins = _bins(confidence, correct)
    accuracy = float(correct.mean())
    gaps = [each.count * abs(each.accuracy - each.confidence) for each in bins if each.count]
    return Calibration(
        events=n,
        accuracy=accuracy,
        accuracy_error=math.sqrt(accuracy * (1 - accuracy) / (n - 1)) if n > 1 else math.nan,
        log_loss=float(-result.log_posterior[np.arange(n), truth].mean()),
        expected_error=sum(gaps) / n,
        bins=bins,
    )


def _bins(confidence: NDArray[np.float64], correct: NDArray[np.float64]) -> tuple[Bin, ...]:
    """A bin includes its upper end."""
    inner = np.arange(1, BINS) / BINS
    index = np.searchsorted(inner, confidence)
    result = []
    for i in range(BINS):
        inside = index == i
        count = int(inside.sum())
        means = [
            float(each[inside].mean()) if count else math.nan for each in (confidence, correct)
        ]
        result.append(Bin(i / BINS, (i + 1) / BINS, count, *means))
    return tuple(result)
