"""Laws of bounds on every backend: their values, draws in groups and pieces, independent rows."""

from collections import Counter
from itertools import pairwise, product

import numpy as np
import pytest
from numpy.typing import NDArray

from ancestral.engine import Engine, LatentEngine
from ancestral.engine.comparison import Limits
from ancestral.parity import tolerance
from ancestral.philox import Stream, normals
from tests.conftest import Load
from tests.latent_toys import LATENT_TOYS
from tests.laws.laws import assert_close

WITH_NOISE = [toy for toy in LATENT_TOYS if toy != "codes"]


def limit(engine: Engine) -> float:
    """Return the limit on the difference of two computations of a log-weight, in nats."""
    entry = tolerance(engine.backend.name, engine.precision)
    return Limits.of(entry, engine.bundle.known_answers(), engine.data.levels).nats


def events(engine: LatentEngine, n: int) -> NDArray[np.generic]:
    """Return samples of the model, and random events."""
    drawn = engine.sample(n // 2, labels=0 if engine.prior is not None else None).x
    other = np.random.default_rng(2).integers(0, engine.data.levels, (n - n // 2, *drawn.shape[1:]))
    return np.concatenate([drawn, other.astype(drawn.dtype)])


def test_verify(latent_engine: LatentEngine) -> None:
    report = latent_engine.verify()
    assert report.passed, report.failures
    assert report.draws > 50
    assert report.unexplained == 0


@pytest.mark.parametrize("toy", WITH_NOISE)
def test_elbo_is_below_iwae(load: Load, toy: str, backend: str) -> None:
    """The ELBO is below the IWAE bound on every draw, as is the mean IWAE of smaller groups."""
    engine = load(toy, backend)
    x = events(engine, 6)
    noise = np.random.default_rng(3).standard_normal((6, 24, *engine.latent.shape))
    terms = engine.log_weights(x, noise.astype(np.float32))
    log_w = sum(
        sign * terms[name].astype(np.float64)
        for name, sign in (("log_likelihood", 1), ("log_prior", 1), ("log_posterior", -1))
    )
    means = [log_w.mean(axis=1)]
    for size in (1, 2, 4, 12, 24):
        groups = log_w.reshape(6, -1, size)
        means.append((np.logaddexp.reduce(groups, axis=2) - np.log(size)).mean(axis=1))
    for smaller, larger in pairwise(means[1:]):
        assert (smaller <= larger + 1e-9).all()
    assert_close(means[0], means[1], 1e-9, "groups of one")


@pytest.mark.parametrize("toy", WITH_NOISE)
def test_bound_is_that_of_its_log_weights(load: Load, toy: str, backend: str) -> None:
    """Each field is as defined, for the noise of its counters; elbo = reconstruction - kl."""
    engine = load(toy, backend)
    x, k, seed = events(engine, 4), 11, 9
    if engine.latent.continuous:
        x = x.astype(np.float32)
    size = int(np.prod(engine.latent.shape))
    noise = normals(seed, 3 + np.arange(4), np.arange(k), size, stream=Stream.Z_GIVEN_X)
    terms = engine.log_weights(x, noise.reshape(4, k, *engine.latent.shape))
    l, p, q = (
        terms[name].astype(np.float64) for name in ("log_likelihood", "log_prior", "log_posterior")
    )
    log_w = l + p - q
    bound = engine.bound(x, k=k, seed=seed, first_index=3)
    near = limit(engine)
    assert_close(bound.elbo, log_w.mean(axis=1), near, "elbo")
    assert_close(bound.iwae, np.logaddexp.reduce(log_w, axis=1) - np.log(k), near, "iwae")
    assert_close(bound.reconstruction, l.mean(axis=1), near, "reconstruction")
    assert_close(bound.kl, (q - p).mean(axis=1), near, "kl")
    assert_close(bound.elbo, bound.reconstruction - bound.kl, 1e-9, "elbo and its terms")
    assert_close(bound.stderr_elbo, log_w.std(axis=1, ddof=1) / k**0.5, 1e-3, "stderr_elbo")
    w = np.exp(log_w - log_w.max(axis=1, keepdims=True))
    ess = w.sum(axis=1) ** 2 / (w**2).sum(axis=1)
    assert_close(bound.ess / ess, np.ones(4), 1e-3, "ess")
    spread = w.std(axis=1) / w.mean(axis=1) / k**0.5
    assert_close(bound.stderr_iwae, spread, 1e-3 * (1 + float(spread.max())), "stderr_iwae")
    assert bound.k == k
    assert (bound.unreliable == (bound.ess < 10)).all()


def test_rows_are_independent(latent_engine: LatentEngine) -> None:
    """A row of a batch has the bound of a batch of one, wherever it is in the batch."""
    x = events(latent_engine, 6)
    together = latent_engine.bound(x, k=5, first_index=10)
    for row in (0, 4):
        single = latent_engine.bound(x[row : row + 1], k=5, first_index=10 + row)
        assert_close(single.iwae, together.iwae[row : row + 1], limit(latent_engine), "iwae")


def test_pieces(load: Load, backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Any cut of events and of draws gives the same bound; the encoder runs once for each event."""
    engine = load("convolved", backend)
    x = events(engine, 5)
    whole = engine.bound(x, k=40)
    runs: Counter[str] = Counter()
    largest: Counter[str] = Counter()
    for graph in ("encode", "log_weights"):
        session = engine.session(graph)
        monkeypatch.setitem(
            engine._made, ("session", graph), Counted(session, graph, runs, largest)
        )
    monkeypatch.setattr("ancestral.engine.budget.CACHED", 16 * 48)
    pieces = engine.bound(x, k=40)
    assert runs["encode rows"] == 5, "the encoder saw an event twice"
    assert runs["log_weights"] > 10
    assert largest["log_weights"] <= 16
    engine.bound(x, k=400)
    assert largest["log_weights"] <= 16, "memory grows with k"
    for name in ("elbo", "iwae", "kl", "ess"):
        got, expected = getattr(pieces, name), getattr(whole, name)
        assert_close(got, expected, 50 * limit(engine) if name == "ess" else limit(engine), name)


class Counted:
    """A session that counts its runs and rows, and the largest number of pairs in a run."""

    def __init__(
        self, session: object, name: str, runs: Counter[str], largest: Counter[str]
    ) -> None:
        self.session, self.name, self.runs, self.largest = session, name, runs, largest
        self.signature = session.signature  # type: ignore[attr-defined]

    def bind(self, sizes: dict[str, int]) -> object:
        raise AssertionError("no loop is expected")

    def run(self, inputs: dict[str, NDArray[np.generic]]) -> dict[str, NDArray[np.generic]]:
        rows = len(inputs["x"])
        self.runs[self.name] += 1
        self.runs[f"{self.name} rows"] += rows
        pairs = rows * (inputs["noise"].shape[1] if "noise" in inputs else 1)
        self.largest[self.name] = max(self.largest[self.name], pairs)
        return self.session.run(inputs)  # type: ignore[attr-defined, no-any-return]


def quadrature(engine: LatentEngine, x: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return log p(x) of the toy `bernoulli` by Gauss-Hermite quadrature over its two latents."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(40)
    z = np.array(list(product(nodes, nodes)), np.float32)
    log_mass = np.log(np.outer(weights, weights).reshape(-1) / (2 * np.pi))
    given = {"x": x, "z": np.broadcast_to(z, (len(x), *z.shape)).copy()}
    log_p = engine.session("log_likelihood").run(given)["log_likelihood"].astype(np.float64)
    return np.logaddexp.reduce(log_p + log_mass, axis=1)


EVERY = np.array(list(product(range(2), repeat=9)))


@pytest.mark.many
def test_probabilities_sum_to_1(load: Load, backend: str) -> None:
    """p(x | z) and p(x), by quadrature over z, sum to 1 over all images."""
    engine = load("bernoulli", backend)
    z = np.random.default_rng(4).standard_normal((1, 5, 2)).astype(np.float32)
    given = {"x": EVERY, "z": np.broadcast_to(z, (512, 5, 2)).copy()}
    p = np.exp(engine.session("log_likelihood").run(given)["log_likelihood"].astype(np.float64))
    assert_close(p.sum(axis=0), np.ones(5), 1e-5, "sum of p(x | z)")
    total = np.exp(quadrature(engine, EVERY)).sum()
    assert abs(total - 1) < 1e-5


@pytest.mark.many
def test_bounds_and_naive_monte_carlo(load: Load, backend: str) -> None:
    """Bounds are below log p(x) by quadrature; naive Monte Carlo is unbiased for p(x)."""
    engine = load("bernoulli", backend)
    x = EVERY[::37]
    log_p = quadrature(engine, x)
    for proposal in ("posterior", "prior"):
        found = engine.bound(x.reshape(-1, 3, 3), k=4000, proposal=proposal, seed=3)
        assert (found.elbo <= log_p + 4 * found.stderr_elbo).all(), proposal
        assert (found.iwae <= log_p + 4 * found.stderr_iwae).all(), proposal
    # Weights with the prior are at most 1; with this untrained q they have no limit.
    error = np.exp(found.iwae) * found.stderr_iwae
    assert (np.abs(np.exp(found.iwae) - np.exp(log_p)) <= 4 * error).all()
    assert (np.abs(1.3 * np.exp(found.iwae) - np.exp(log_p)) > 4 * error).any(), (
        "an error of 30% was not found"
    )


@pytest.mark.many
def test_codes(load: Load, backend: str) -> None:
    """log p(x | z) + log p(z | y) is below log p(x | y), the sum over all 256 codes."""
    engine = load("codes", backend)
    assert isinstance(engine, LatentEngine)
    assert engine.prior is not None
    x = events(engine, 4).reshape(4, -1)
    codes = np.array(list(product(range(4), repeat=4)))
    grids = codes.reshape(-1, 2, 2)
    given = {"x": x, "z": np.broadcast_to(codes, (4, 256, 4)).copy()}
    likelihood = engine.session("log_likelihood").run(given)["log_likelihood"].astype(np.float64)
    own = engine.encode(x)["codes"]
    at = (own @ 4 ** np.arange(4)[::-1]).astype(int)
    by_class = []
    for y in (0, 1):
        prior = engine.prior.log_prob(grids, y)
        assert abs(np.exp(prior).sum() - 1) < 1e-4
        joint = likelihood + prior
        bound = engine.bound(x, k=3, labels=y)
        assert_close(bound.elbo, joint[np.arange(4), at], limit(engine), "bound")
        assert (bound.elbo < np.logaddexp.reduce(joint, axis=1)).all()
        assert_close(bound.elbo, bound.reconstruction - bound.kl, 1e-9, "elbo and its terms")
        by_class.append(prior)
    both = np.logaddexp(*by_class) - np.log(2)
    found = engine.bound(x).elbo
    assert_close(found, (likelihood + both)[np.arange(4), at], limit(engine), "bound on p(x)")
