"""KL between two models' distributions of the next value, from logits, in float64."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float
from numpy.typing import NDArray

PIECE = 2**18
"""Logits of each model that are compared at a time, few enough to stay in a processor's cache."""


class Divergence(NamedTuple):
    """Differences of distributions at n positions.

    Attributes:
        kl: KL(source || other) in nats, [n]; NaN or infinite where one is not a distribution, or
            where the other excludes a value that the source allows.
        same_top: whether both have the same most probable value, [n]; of equal ones the lowest.
    """

    kl: Float[np.ndarray, " n"]
    same_top: Bool[np.ndarray, " n"]


def divergence(source: Float[np.ndarray, "n v"], other: Float[np.ndarray, "n v"]) -> Divergence:
    """Compare the distributions whose logits are given, a piece of the positions at a time.

    KL is computed as the sum of p (log p - log q) - p + q. No term is negative, so a difference in
    one value never hides one in another, and equal logits give exactly 0.

    Args:
        source: logits of the source, up to a constant for each position, of any float type.
        other: logits of the other model.
    """
    n, v = source.shape
    kl, same = np.empty(n), np.empty(n, np.bool_)
    rows = max(1, PIECE // max(1, v))
    for at in range(0, n, rows):
        some = slice(at, at + rows)
        kl[some] = _kl(source[some], other[some])
        same[some] = source[some].argmax(axis=1) == other[some].argmax(axis=1)
    return Divergence(kl, same)


def _kl(source: NDArray[np.floating], other: NDArray[np.floating]) -> NDArray[np.float64]:
    with np.errstate(invalid="ignore", divide="ignore"):
        a, p, log_a = _softmax(source)
        b, q, log_b = _softmax(other)
        terms = a - b
        terms -= log_a - log_b
        terms *= p
        terms -= p
        terms += q
    # Where the source excludes a value, the product above is 0 times infinity.
    np.copyto(terms, q, where=p == 0)
    # A term may be below 0 by rounding.
    return np.asarray(np.maximum(terms, 0.0).sum(axis=1))


def _softmax(
    logits: NDArray[np.floating],
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return logits less their largest, the probabilities, and the logarithm of the normaliser."""
    shifted = logits.astype(np.float64)
    shifted -= shifted.max(axis=1, keepdims=True)
    mass = np.exp(shifted)
    total = mass.sum(axis=1, keepdims=True)
    mass /= total
    return shifted, mass, np.log(total)
