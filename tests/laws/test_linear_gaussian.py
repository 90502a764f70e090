"""Laws of bounds for a model in closed form: z ~ N(0, I), y = W z + b + scale noise, x = levels y.

log p(x), the posterior and every KL have closed forms, computed here in float64 numpy from the
toy's weights. If c^2 is the ratio of the covariance of q to that of the posterior,
E_q[(p/q)^2] - 1 = (c^2 / sqrt(2 c^2 - 1))^d - 1 is the chi-square distance of posterior and q.

References:
    Rainforth et al. (2018), Tighter variational bounds are not necessarily better, arXiv:1802.04537
    (log p - E IWAE_k = chi2 / (2k) + O(1/k^2)).
"""

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.stats import multivariate_normal

from ancestral.bound import Bound, Reduction
from ancestral.engine import Engine, LatentEngine
from ancestral.train.models.posteriors import Full
from tests.conftest import Load
from tests.latent_toys import linear_parts, make_latent
from tests.laws.laws import assert_close

LEVELS = 4
LIMIT = 2e-4
"""Limit on float32's difference from the closed forms, in nats; the bundle's own is similar."""
Array = NDArray[np.float64]


@dataclass(frozen=True)
class Exact:
    """The linear model in closed form."""

    w: Array
    b: Array
    noise: float

    def log_prob(self, x: Array) -> Array:
        """Return the log density of x."""
        covariance = self.w @ self.w.T + self.noise**2 * np.eye(len(self.w))
        normal = multivariate_normal(self.b, covariance)
        return normal.logpdf(x / LEVELS) - len(self.w) * np.log(LEVELS)

    def posterior(self, x: Array) -> tuple[Array, Array]:
        """Return the means [n, d] and the covariance [d, d] of z given x."""
        precision = np.eye(self.w.shape[1]) + self.w.T @ self.w / self.noise**2
        covariance = np.linalg.inv(precision)
        return (x / LEVELS - self.b) @ self.w @ covariance / self.noise**2, covariance


@pytest.fixture(scope="module")
def exact() -> Exact:
    return Exact(*linear_parts(make_latent("linear")))


@pytest.fixture(scope="module")
def x(exact: Exact) -> NDArray[np.float32]:
    """Return events drawn from the model, and some far from it."""
    rng = np.random.default_rng(5)
    z = rng.standard_normal((12, 2)) * np.linspace(0.5, 3, 12)[:, None]
    y = z @ exact.w.T + exact.b + exact.noise * rng.standard_normal((12, len(exact.w)))
    return (y * LEVELS).astype(np.float32)


def noise(n: int, k: int) -> NDArray[np.float32]:
    return np.random.default_rng(6).standard_normal((n, k, 2)).astype(np.float32)


def widened(factor: float) -> Engine:
    """Return the toy in PyTorch, with a q that is too wide by a factor."""
    model = make_latent("linear")

    class Wide(type(model)):  # type: ignore[misc]
        """The toy with its weights and another scale of q."""

        def encode(self, events: torch.Tensor) -> tuple[torch.Tensor, ...]:
            mean, scale = super().encode(events)
            return mean, scale * factor

    model.__class__ = Wide
    return model


def test_log_weight_is_log_p_if_q_is_the_posterior(
    load: Load, backend: str, exact: Exact, x: NDArray[np.float32]
) -> None:
    """Every log-weight is log p(x) for any noise, and so are the ELBO and the IWAE bound."""
    engine = load("linear", backend)
    terms = engine.log_weights(x, noise(len(x), 16))
    log_w = terms["log_likelihood"] + terms["log_prior"] - terms["log_posterior"]
    expected = np.repeat(exact.log_prob(x.astype(np.float64))[:, None], 16, axis=1)
    assert_close(log_w, expected, LIMIT, "log w")
    bound = engine.bound(x, k=8)
    assert_close(bound.elbo, expected[:, 0], LIMIT, "elbo")
    assert_close(bound.iwae, expected[:, 0], LIMIT, "iwae")
    assert (bound.stderr_elbo < LIMIT).all()
    assert (bound.ess > 8 - 1e-3).all()


def test_posterior(load: Load, backend: str, exact: Exact, x: NDArray[np.float32]) -> None:
    mean, covariance = exact.posterior(x.astype(np.float64))
    q = load("linear", backend).encode(x)
    assert_close(q["mean"], mean, 1e-4, "mean of q")
    square = q["factor"] @ q["factor"].transpose(0, 2, 1)
    assert_close(square, np.broadcast_to(covariance, square.shape), 1e-5, "covariance of q")


def three_forms(exact: Exact, x: Array, k: int, factor: float) -> tuple[Array, Array, Array, Array]:
    """Return three forms of the ELBO for a q that is too wide, and the first two's standard error.

    The forms are reconstruction - KL; E log p(x, z) + H(q); log p(x) - KL(q || posterior).
    """
    model = widened(factor).double()
    events = torch.from_numpy(x)
    with torch.no_grad():
        q = model.encode(events)
        eps = torch.from_numpy(np.random.default_rng(7).standard_normal((len(x), k, 2)))
        likelihood, prior, _ = (term.numpy() for term in model.log_weights(events, q, eps))
        kl = Full(2).kl_to_standard(q)[:, 0].numpy()
    log_det = np.log(np.diagonal(q[1].numpy(), axis1=1, axis2=2)).sum(axis=1)
    entropy = log_det + (1 + np.log(2 * np.pi))  # d/2 (1 + log 2 pi), d = 2
    d, ratio = 2, factor**2
    apart = 0.5 * d * (ratio - 1 - np.log(ratio))
    forms = (
        likelihood.mean(axis=1) - kl,
        (likelihood + prior).mean(axis=1) + entropy,
        exact.log_prob(x) - apart,
    )
    spread = np.maximum(likelihood.std(axis=1), (likelihood + prior).std(axis=1)) / k**0.5
    return (*forms, spread)


def test_three_forms_of_the_elbo(exact: Exact, x: NDArray[np.float32]) -> None:
    first, second, third, error = three_forms(exact, x.astype(np.float64), 4000, 1.5)
    assert (np.abs(first - third) <= 4 * error).all()
    assert (np.abs(second - third) <= 4 * error).all()
    assert (np.abs(first - second) <= 4 * error).all()
    # Planted: the entropy of an exact q, without the factor, and the KL of an exact q, which is 0.
    assert not (np.abs(second - 2 * np.log(1.5) - third) <= 4 * error).all()
    assert not (np.abs(first - exact.log_prob(x.astype(np.float64))) <= 4 * error).all()


def bounds(factor: float, x: Array, k: int, replicates: int) -> Bound:
    """Return bounds of many replicates of each event, in float64."""
    model = widened(factor).double()
    events = torch.from_numpy(np.repeat(x, replicates, axis=0))
    with torch.no_grad():
        eps = torch.from_numpy(np.random.default_rng(8).standard_normal((len(events), k, 2)))
        terms = model.log_weights(events, model.encode(events), eps)
    reduction = Reduction(len(events))
    reduction.add(*(term.numpy() for term in terms))
    return reduction.bound(None)


@pytest.mark.parametrize("k", [1, 4, 64])
def test_bounds_are_below_log_p(exact: Exact, x: NDArray[np.float32], k: int) -> None:
    """Mean bounds are below log p(x), to 4 standard errors; for k = 1 some by 0.5 nats."""
    wide, replicates = x.astype(np.float64), 400
    found = bounds(1.5, wide, k, replicates).iwae.reshape(len(x), replicates)
    error = found.std(axis=1, ddof=1) / replicates**0.5
    assert (found.mean(axis=1) <= exact.log_prob(wide) + 4 * error).all()
    assert not (found.mean(axis=1) + 0.5 * (k == 1) >= exact.log_prob(wide) + 4 * error).all()


def chi_square(factor: float) -> float:
    """Return E_q[(posterior / q)^2] - 1 for q wider than the posterior by a factor, d = 2."""
    ratio = factor**2
    return float((ratio / np.sqrt(2 * ratio - 1)) ** 2 - 1)


def test_gap_of_the_importance_weighted_bound(exact: Exact, x: NDArray[np.float32]) -> None:
    """k (log p - E IWAE_k) tends to chi2 / 2."""
    wide, k, replicates = x[:4].astype(np.float64), 200, 4000
    found = bounds(1.5, wide, k, replicates).iwae.reshape(4, replicates)
    ratio = found - exact.log_prob(wide)[:, None]
    # The mean of w / p is exactly 1: adding w / p - 1 keeps the mean and reduces the variance.
    gap = k * (np.expm1(ratio) - ratio)
    mean, error = gap.mean(), gap.std() / gap.size**0.5
    expected = chi_square(1.5) / 2
    # The next term of the expansion is O(1 / k).
    assert abs(mean - expected) <= 4 * error + 2 / k
    # Planted: a width of 1.6 instead of 1.5 is found.
    assert abs(mean - chi_square(1.6) / 2) > 4 * error + 2 / k


def test_naive_monte_carlo_is_unbiased(load: Load, exact: Exact, x: NDArray[np.float32]) -> None:
    """The mean of p(x | z) over z ~ p(z) is p(x), to 4 standard errors; its ELBO is looser."""
    engine = load("linear", "onnxruntime")
    assert isinstance(engine, LatentEngine)
    near = x[:3]
    p = np.exp(exact.log_prob(near.astype(np.float64)))
    found = engine.bound(near, k=20_000, proposal="prior")
    error = np.exp(found.iwae) * found.stderr_iwae
    assert (np.abs(np.exp(found.iwae) - p) <= 4 * error).all()
    assert (np.abs(np.exp(found.iwae) - 1.3 * p) > 4 * error).any(), "an error of 30% is not found"
    exactly = engine.bound(near, k=20, proposal="posterior")
    assert (engine.bound(near, k=20, proposal="prior").elbo < exactly.elbo - 1).all()
    assert (found.kl == 0).all()
