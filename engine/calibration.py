"""Calibration of a classifier: how well its probabilities match its accuracy."""

import math
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ancestral.engine.classify import Classification
from ancestral.engine.inputs import class_labels

BINS = 10


@dataclass(frozen=True, slots=True)
class Bin:
    """Events whose largest p(y | x) is in (low, high].

    Attributes:
        low: lower end of the bin.
        high: upper end of the bin.
        count: number of events in the bin.
        confidence: mean of their largest p(y | x); NaN in an empty bin.
        accuracy: fraction of them whose most probable class is the true one; NaN in an empty bin.
    """

    low: float
    high: float
    count: int
    confidence: float
    accuracy: float


@dataclass(frozen=True, slots=True)
class Calibration:
    """A classification compared with the true classes.

    Attributes:
        events: number of events.
        accuracy: fraction of events whose most probable class is the true one.
        accuracy_error: standard error of `accuracy` over the events; NaN for a single event.
        log_loss: mean of -log p(true class | x), in nats.
        expected_error: expected calibration error, from 0 (best) to 1: mean over events of
            |accuracy - confidence| of the event's bin. Bins with few events bias it upwards.
        bins: bins of equal width from 0 to 1.
    """

    events: int
    accuracy: float
    accuracy_error: float
    log_loss: float
    expected_error: float
    bins: tuple[Bin, ...]

    def to_json(self) -> dict[str, object]:
        """Return all fields, with each bin as an object."""
        return asdict(self)


def calibration(result: Classification, labels: ArrayLike | int) -> Calibration:
    """Compare a classification with the true classes.

    Args:
        result: classification of n >= 1 events.
        labels: true class of each event, [n], or one class for all.

    Raises:
        InvalidInput: `labels` has another shape or type, or a value that is not a class.

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
    """Return the bins; each includes its upper end."""
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
