"""The settings of a draw by definition, in numpy and float64: the reference for the graphs."""

import numpy as np
from numpy.typing import NDArray

from ancestral.sampling import Sampling


def filtered(logits: NDArray[np.floating], sampling: Sampling) -> NDArray[np.float64]:
    """Return probabilities [v] after temperature, top-k, top-p and min-p, applied in sequence."""
    l = logits.astype(np.float64)
    if sampling.temperature == 0:
        return np.eye(len(l))[int(l.argmax())]
    p = np.exp((l - l.max()) / sampling.temperature)
    p /= p.sum()
    if sampling.top_k is not None and sampling.top_k < len(p):
        p = _keep(p, p >= np.sort(p)[-sampling.top_k])
    if sampling.top_p < 1:
        order = np.sort(p)[::-1]
        above = np.concatenate([[0], order.cumsum()[:-1]])  # mass before each value in this order
        first = np.searchsorted(-order, -order, side="left")  # first value of each group of ties
        least = order[above[first] < sampling.top_p].min()
        p = _keep(p, p >= least)
    return _keep(p, p >= sampling.min_p * p.max())


def adjusted(
    logits: NDArray[np.floating],
    past: NDArray[np.integer],
    given: int,
    sampling: Sampling,
) -> NDArray[np.float64]:
    """Return logits [v] after bias, repetition, presence and frequency, in this order.

    Args:
        logits: logits of a position.
        past: values before it.
        given: how many of these are of the prompt; the others were drawn.
        sampling: the settings.
    """
    l = logits.astype(np.float64)
    for value, nats in dict(sampling.logit_bias or ()).items():
        l[value] += nats
    for value in set(past.tolist()):
        penalty = sampling.repetition_penalty
        l[value] = l[value] / penalty if l[value] > 0 else l[value] * penalty
    for value in set(past[given:].tolist()):
        times = (past[given:] == value).sum()
        l[value] -= sampling.presence_penalty + times * sampling.frequency_penalty
    return l


def _keep(p: NDArray[np.float64], kept: NDArray[np.bool_]) -> NDArray[np.float64]:
    return np.where(kept, p, 0) / p[kept].sum()
