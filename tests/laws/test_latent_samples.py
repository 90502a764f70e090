"""Laws of latent variable models' samples: they depend only on (seed, index), and follow p(x)."""

import numpy as np
import pytest

from ancestral.engine import Engine, LatentEngine, Sampling
from ancestral.engine.comparison import Limits
from ancestral.engine.noise import Noise, event_noise
from ancestral.parity import tolerance
from tests.conftest import Load
from tests.latent_toys import LATENT_TOYS
from tests.laws.laws import assert_close
from tests.laws.test_bounds import EVERY, limit, quadrature
from tests.laws.test_draws import p_value


def label(engine: LatentEngine) -> int | None:
    return None if engine.prior is None else 1


def drawn_limit(engine: Engine) -> float:
    """Return the limit on the difference of two draws from the same noise, in levels.

    The limit is 0 unless p(x | z) is a density.
    """
    if not engine.latent.continuous:
        return 0.0
    entry = tolerance(engine.backend.name, engine.precision)
    return Limits.of(entry, engine.bundle.known_answers(), engine.data.levels).drawn


def test_depends_on_seed_and_index_only(latent_engine: LatentEngine) -> None:
    """A sample is the same in a batch of one, late in a batch, and drawn again."""
    y = label(latent_engine)
    whole = latent_engine.sample(9, labels=y, seed=4, first_index=2)
    single = latent_engine.sample(1, labels=y, seed=4, first_index=8)
    other = latent_engine.sample(9, labels=y, seed=5, first_index=2)
    near = drawn_limit(latent_engine)
    assert_close(
        whole.x[6:7].astype(np.float64), single.x.astype(np.float64), near, "x in a batch of one"
    )
    assert not np.array_equal(whole.x, other.x)
    again = latent_engine.sample(9, labels=y, seed=4, first_index=2)
    assert np.array_equal(whole.x, again.x)
    assert np.array_equal(whole.z, again.z)


@pytest.mark.parametrize("toy", LATENT_TOYS)
def test_same_on_every_backend(load: Load, toy: str) -> None:
    first, second = (
        load(toy, name).sample(40, seed=1, labels=label(load(toy, name)))
        for name in ("torch", "onnxruntime")
    )
    # `verify` accepts near ties; there are none here.
    near = drawn_limit(load(toy, "torch"))
    assert_close(first.x.astype(np.float64), second.x.astype(np.float64), near, "x")
    assert_close(first.log_prior, second.log_prior, limit(load(toy, "torch")), "log p(z)")


def test_log_probs_are_those_of_the_sample(latent_engine: LatentEngine) -> None:
    """The log p(x | z) of a sample equals log p(x | z) computed again."""
    drawn = latent_engine.sample(6, labels=label(latent_engine))
    again = latent_engine.parallel("log_likelihood", x=drawn.x.reshape(6, -1), z=drawn.z[:, None])[
        "log_likelihood"
    ][:, 0]
    assert drawn.log_likelihood is not None
    assert_close(drawn.log_likelihood, again, limit(latent_engine), "log p(x | z)")


@pytest.mark.many
def test_follow_p(load: Load, backend: str) -> None:
    """20,000 images of the toy `bernoulli` follow p(x), by quadrature over z.

    The test finds a temperature that is off by 5% (or 15%).
    """
    engine = load("bernoulli", backend)
    p = np.exp(quadrature(engine, EVERY))
    x = engine.sample(20_000, seed=2).x.reshape(-1, 9) @ 2 ** np.arange(9)[::-1]
    assert p_value(p, x) > 1e-4
    wrong = p**1.05 / (p**1.05).sum()
    assert p_value(wrong, x) < 1e-4 or p_value(p**1.15 / (p**1.15).sum(), x) < 1e-4


def test_temperature(load: Load, backend: str) -> None:
    """The temperature scales z; 0 gives the mean of the prior."""
    engine = load("linear", backend)
    cold = engine.sample(5, sampling=Sampling(temperature=0.0))
    assert (cold.z == 0).all()
    warm = engine.sample(5, sampling=Sampling(temperature=0.5))
    plain = engine.sample(5)
    assert_close(warm.z, 0.5 * plain.z, 1e-7, "z")
    assert_close(warm.log_prior, -0.5 * (warm.z**2).sum(axis=1) - np.log(2 * np.pi), 1e-5, "log p")


@pytest.mark.parametrize("toy", ["convolved", "colours", "linear"])
def test_mean_is_the_mean(load: Load, backend: str, toy: str) -> None:
    """`decode` gives the mean of many draws of x at one z."""
    engine = load(toy, backend)
    n = 3000
    z = np.repeat(engine.sample(1, seed=3).z, n, axis=0)
    x = engine.parallel(
        "draw", z=z, **event_noise(engine.latent, Noise(5, 0), n, engine.data.length)
    )["x"].astype(np.float64)
    mean = engine.decode(z[:1])[1].reshape(-1)
    error = x.std(axis=0) / n**0.5
    assert (np.abs(x.mean(axis=0) - mean) <= 4.5 * error + 1e-6).all()
