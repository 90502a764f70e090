"""Bounds from a stream of log-weights: any cut gives the same bound; the fields are as defined."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from ancestral.bound import Bound, Reduction, join
from ancestral.errors import InvalidInput

Terms = tuple[NDArray[np.float64], ...]


def reduced(terms: Terms, cuts: list[int]) -> Bound:
    reduction = Reduction(len(terms[0]))
    edges = [0, *sorted(cuts), terms[0].shape[1]]
    for start, end in pairwise(edges):
        if end > start:
            reduction.add(*(term[:, start:end] for term in terms))
    return reduction.bound(None)


def terms(seed: int, scale: float, k: int = 40) -> Terms:
    rng = np.random.default_rng(seed)
    return tuple(offset + scale * rng.standard_normal((3, k)) for offset in (-900.0, -20.0, 15.0))


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 10**6), st.floats(0.0, 200.0), st.lists(st.integers(0, 40), max_size=6))
def test_any_cut(seed: int, scale: float, cuts: list[int]) -> None:
    """Draws added in any pieces give the same bound, to 1e-9, and errors to the root of 1e-14."""
    whole, cut = reduced(terms(seed, scale), []), reduced(terms(seed, scale), cuts)
    for name in ("elbo", "iwae", "reconstruction", "kl", "stderr_elbo", "stderr_iwae", "ess"):
        got, expected = getattr(cut, name), getattr(whole, name)
        # An error is the root of a difference, which cancels if all weights are nearly the same.
        limit = 1e-7 if name.startswith("stderr") else 1e-9
        assert np.allclose(got, expected, rtol=1e-9, atol=limit), name
    assert cut.k == 40


def test_fields() -> None:
    """Every field equals its definition, computed in float64."""
    l, p, q = terms(1, 3.0)
    log_w = l + p - q
    bound = reduced((l, p, q), [7, 20])
    w = np.exp(log_w - log_w.max(axis=1, keepdims=True))
    assert np.allclose(bound.elbo, log_w.mean(axis=1), rtol=0, atol=1e-10)
    assert np.allclose(bound.iwae, np.log(w.mean(axis=1)) + log_w.max(axis=1), rtol=0, atol=1e-10)
    assert np.allclose(bound.elbo, bound.reconstruction - bound.kl, rtol=0, atol=1e-10)
    assert np.allclose(bound.stderr_elbo, log_w.std(axis=1, ddof=1) / np.sqrt(40))
    assert np.allclose(bound.ess, w.sum(axis=1) ** 2 / (w**2).sum(axis=1))
    assert np.allclose(bound.stderr_iwae, np.sqrt(1 / bound.ess - 1 / 40))
    assert bound.unreliable.tolist() == (bound.ess < 10).tolist()
    assert (bound.elbo <= bound.iwae).all()


def test_one_draw() -> None:
    """With one draw, both bounds are its log-weight, and the standard error is infinite."""
    bound = reduced(terms(2, 1.0, k=1), [])
    assert np.array_equal(bound.elbo, bound.iwae)
    assert np.isinf(bound.stderr_elbo).all()
    assert np.allclose(bound.ess, 1)


def test_impossible_and_broken_draws() -> None:
    """A weight of 0 counts as a draw, and NaN stays NaN."""
    l = np.array([[-np.inf, -1.0], [-np.inf, -np.inf], [np.nan, 0.0]])
    zero = np.zeros_like(l)
    bound = reduced((l, zero, zero), [1])
    assert np.isclose(bound.iwae[0], -1 - np.log(2))
    assert bound.iwae[1] == -np.inf
    assert np.isnan(bound.iwae[2])
    assert (bound.elbo[:2] == -np.inf).all()
    assert np.isnan(bound.elbo[2])


def test_join() -> None:
    first, second = (reduced(terms(seed, 1.0), []) for seed in (1, 2))
    both = join([first, second])
    assert len(both) == 6
    assert np.array_equal(both.iwae, np.concatenate([first.iwae, second.iwae]))
    assert both.kl_closed is None
    with pytest.raises(InvalidInput, match="expected the same k"):
        join([first, reduced(terms(1, 1.0, k=3), [])])
    with pytest.raises(InvalidInput, match="at least one draw"):
        Reduction(3).bound(None)
