"""How far the probabilities that a classifier states can be trusted."""

import math
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ancestral.engine.classify import Classification
from ancestral.engine.inputs import class_labels

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
