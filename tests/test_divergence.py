"""`divergence`: KL from logits, with the rounding of float32 and with values of probability 0."""

import numpy as np
import pytest

from ancestral import divergence as module
from ancestral.divergence import divergence

RANDOM = np.random.default_rng(0)


def exact(source: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Return KL in extended precision, from the definition."""
    a, b = (each.astype(np.longdouble) for each in (source, other))
    p, q = (np.exp(each) / np.exp(each).sum(axis=1, keepdims=True) for each in (a, b))
    return np.asarray((p * np.log(p / q)).sum(axis=1), np.float64)


@pytest.mark.parametrize("scale", [1e-3, 1e-1, 3.0])
def test_exact(scale: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """KL agrees with extended precision, also where it is tiny, and in pieces of any size."""
    source = RANDOM.normal(0, 3, (40, 300)).astype(np.float32)
    other = (source + RANDOM.normal(0, scale, source.shape) + 5).astype(np.float32)
    found = divergence(source, other)
    np.testing.assert_allclose(found.kl, exact(source, other), rtol=1e-8, atol=1e-15)
    assert (found.same_top == (source.argmax(axis=1) == other.argmax(axis=1))).all()
    monkeypatch.setattr(module, "PIECE", 700)
    again = divergence(source, other)
    np.testing.assert_array_equal(again.kl, found.kl)
    np.testing.assert_array_equal(again.same_top, found.same_top)


def test_same() -> None:
    source = RANDOM.normal(0, 30, (10, 50)).astype(np.float32)
    found = divergence(source, source.copy())
    assert (found.kl == 0).all()
    assert found.same_top.all()


def test_excluded_values() -> None:
    """A value that only the source excludes costs its mass; one that only the other does, all."""
    free, banned = np.zeros((1, 4), np.float32), np.array([[0, 0, 0, -np.inf]], np.float32)
    assert divergence(banned, banned).kl[0] == 0
    assert divergence(banned, free).kl[0] == pytest.approx(np.log(4 / 3))
    assert divergence(free, banned).kl[0] == np.inf
    assert np.isnan(divergence(np.full((1, 4), np.nan, np.float32), free).kl[0])
