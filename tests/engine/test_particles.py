"""Completions: unbiased estimates of p(observed) and of free values, exact after a prefix."""

import doctest
import itertools
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from ancestral.dataspec import DataSpec
from ancestral.engine import Completion, Engine, arguments, particles, step_loop
from ancestral.engine.backends.onnxruntime_session import OnnxRuntimeBinding
from ancestral.engine.noise import Noise
from ancestral.errors import InvalidInput
from ancestral.philox import Stream, uniforms
from tests.conftest import Load
from tests.laws.laws import limits

SEED = 4
RUNS = 120
CASES = {
    "tiny": [-1, 0, -1, -1, 1, 0, -1, -1, 0],
    "wavenet": [-1, 2, 2, -1, -1, 1, -1, -1, 0],
    "table": [-1, 0, -1, 2, -1, 2, -1, 2, -1],
    "tiny after a block": [1, 2, 0, -1, 1, -1, -1, 2, -1],
}
"""Observed values by position; in wavenet (columns first) and table (random) sites differ."""


def case(load: Load, name: str, backend: str = "onnxruntime") -> tuple[Engine, NDArray[np.int64]]:
    """Return an engine and the observed values by site."""
    engine = load(name.split()[0], backend)
    return engine, engine.data.in_place(np.array([CASES[name]]))[0]


def label(engine: Engine) -> int | None:
    return None if engine.data.num_classes is None else 1


def enumerated(
    engine: Engine, observed: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return every event [n, t] with the observed values, by site, and its probability [n]."""
    flat = observed.reshape(-1)
    free = flat < 0
    values = np.array(list(itertools.product(range(engine.data.levels), repeat=int(free.sum()))))
    x = np.tile(flat, (len(values), 1))
    x[:, free] = values
    return x, np.exp(engine.log_prob(x, label(engine)))


def completions(engine: Engine, observed: NDArray[np.int64], n: int) -> list[Completion]:
    """Return runs of n particles that share no noise."""
    return [
        engine.complete(observed, n, label(engine), seed=SEED, first_index=n * i)
        for i in range(RUNS)
    ]


def estimates(runs: list[Completion], free: NDArray[np.bool_], levels: int) -> NDArray[np.float64]:
    """Return each run's estimates of p(observed), then of p(observed, x_s = v).

    There is one for each level v and free site s.
    """
    rows = []
    for each in runs:
        z, weight = np.exp(each.log_prob_observed), np.exp(each.log_weight)
        x = each.x.reshape(len(each), -1)[:, free]
        parts = [z * (weight[:, None] * (x == value)).sum(axis=0) for value in range(levels)]
        rows.append(np.concatenate([[z], *parts]))
    return np.array(rows)


def check_unbiased(
    engine: Engine, observed: NDArray[np.int64], n: int, truth: NDArray[np.float64]
) -> list[Completion]:
    """Check that means over runs are the enumerated probabilities, within 4 standard errors."""
    runs = completions(engine, observed, n)
    got = estimates(runs, observed.reshape(-1) < 0, engine.data.levels)
    likely = truth > 0.1 * truth[0]  # estimates of rare values are far from normal
    error = np.maximum(got.std(axis=0, ddof=1) / RUNS**0.5, 1e-6 * truth[0])
    off = (np.abs(got.mean(axis=0) - truth) / error)[likely]
    assert off.max() < 4, f"biased: {off.max():.1f} standard errors at {off.argmax()}"
    return runs


def truths(engine: Engine, observed: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the probabilities that `estimates` estimates, by enumeration."""
    x, p = enumerated(engine, observed)
    x = x[:, observed.reshape(-1) < 0]
    parts = [(p[:, None] * (x == value)).sum(axis=0) for value in range(engine.data.levels)]
    return np.concatenate([[p.sum()], *parts])


@pytest.mark.parametrize("name", CASES)
def test_unbiased(load: Load, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Estimates are unbiased if particles are resampled at every possible position."""
    monkeypatch.setattr(particles, "UNEVEN", 2)
    engine, observed = case(load, name)
    runs = check_unbiased(engine, observed, 5, truths(engine, observed))
    pairs = itertools.pairwise(CASES[name])
    assert {each.resampled for each in runs} == {sum(a >= 0 > b for a, b in pairs)}


def test_unbiased_if_resampling_depends_on_the_weights(load: Load) -> None:
    engine, observed = case(load, "tiny")
    runs = check_unbiased(engine, observed, 6, truths(engine, observed))
    times = [each.resampled for each in runs]
    assert min(times) == 0 < max(times)
    assert all(1 <= each.ess <= 6 for each in runs)


def _weights_lost(log_weight: NDArray[np.float64]) -> float:
    log_weight[:] = 0
    return 1.0


FAULTS: dict[str, tuple[Any, str, Callable[..., Any]]] = {
    "weights lost": (particles, "effective_sample_size", _weights_lost),
    "nothing copied": (particles, "systematic", lambda weight, u: np.arange(len(weight))),
    "heaviest only": (particles, "systematic", lambda w, u: np.full(len(w), w.argmax())),
    "sites for positions": (DataSpec, "in_order", lambda data, x: x.reshape(len(x), -1)),
    "cache left behind": (OnnxRuntimeBinding, "gather", lambda self, rows: None),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_planted(load: Load, monkeypatch: pytest.MonkeyPatch, fault: str) -> None:
    engine, observed = case(load, "table" if fault.startswith("sites") else "tiny")
    truth = truths(engine, observed)
    monkeypatch.setattr(particles, "UNEVEN", 2)
    monkeypatch.setattr(*FAULTS[fault])
    with pytest.raises(AssertionError, match="biased"):
        check_unbiased(engine, observed, 5, truth)


@pytest.mark.slow
@pytest.mark.many
@pytest.mark.parametrize("name", CASES)
def test_many_particles(load: Load, backend: str, name: str) -> None:
    """One run of many particles is near p(observed), and its events near p(x | observed)."""
    engine, observed = case(load, name, backend)
    got = engine.complete(observed, 4000, label(engine), seed=1)
    truth = truths(engine, observed)
    assert got.log_prob_observed == pytest.approx(np.log(truth[0]), abs=0.1)
    means = estimates([got], observed.reshape(-1) < 0, engine.data.levels)[0]
    np.testing.assert_allclose(means / means[0], truth / truth[0], atol=0.05)
    flat = got.x[got.chosen].reshape(4000, -1)[:, observed.reshape(-1) < 0]
    chosen = np.concatenate([(flat == value).mean(axis=0) for value in range(engine.data.levels)])
    np.testing.assert_allclose(chosen, truth[1:] / truth[0], atol=0.05)
    assert 1 <= got.ess <= 4000
    assert not got.exact


@pytest.mark.parametrize("name", CASES)
def test_completion(load: Load, backend: str, name: str) -> None:
    engine, observed = case(load, name, backend)
    got = engine.complete(observed, 7, label(engine), seed=2, first_index=3)
    assert (got.x.shape, got.x.dtype, len(got)) == ((7, 3, 3), np.int64, 7)
    assert (got.x[:, observed >= 0] == observed[observed >= 0]).all()
    assert got.log_weight.shape == got.chosen.shape == got.log_prob.shape == (7,)
    assert np.exp(got.log_weight).sum() == pytest.approx(1)
    assert got.ess == pytest.approx(1 / np.exp(2 * got.log_weight).sum())
    nats = engine.log_prob(got.x, label(engine))
    assert np.abs(got.log_prob - nats).max() <= limits(engine).nats
    flat = engine.complete(observed.reshape(-1), 7, label(engine), seed=2, first_index=3)
    assert np.array_equal(flat.x, got.x)
    assert flat.log_prob_observed == got.log_prob_observed


@pytest.mark.many
@pytest.mark.parametrize("toy", ["tiny", "wavenet", "table"])
@pytest.mark.parametrize("prefix", [0, 1, 4, 8, 9])
def test_prefix_is_exact(load: Load, toy: str, backend: str, prefix: int) -> None:
    """With a prefix observed, the estimate is exact, and the events are those of `sample`."""
    engine = load(toy, backend)
    values = np.where(np.arange(9) < prefix, [0, 2, 0, 0, 2, 0, 2, 0, 0], -1)
    observed = engine.data.in_place(values[None])[0]
    got = engine.complete(observed, 3, label(engine), seed=SEED, first_index=5)
    _, p = enumerated(engine, observed)
    assert got.exact
    assert abs(got.log_prob_observed - np.log(p.sum())) <= limits(engine).nats
    np.testing.assert_allclose(got.log_weight, -np.log(3))
    assert (got.ess, got.resampled) == (pytest.approx(3), 0)
    assert got.chosen.tolist() == [0, 1, 2]
    samples = engine.sample(3, label(engine), SEED, 5, observed=observed)
    assert np.array_equal(got.x, samples.x)


def test_prefix_in_one_ordering_only(load: Load) -> None:
    """The first row of an image is a prefix only in raster order."""
    observed = np.array([[1, 0, -1], [-1, -1, -1], [-1, -1, -1]])
    exact = {
        toy: load(toy, "onnxruntime").complete(observed, 2, y).exact
        for toy, y in (("tiny", 0), ("wavenet", None), ("table", None))
    }
    assert exact == {"tiny": True, "wavenet": False, "table": False}


@pytest.mark.parametrize("observed", [[2, 1, 3, -1, -1, -1], [2, -1, -1, 1, 0, -1]])
def test_without_a_start_symbol(load: Load, observed: list[int]) -> None:
    """log p(x_0) is 0 by definition, so the estimate is of the other observed values."""
    engine = load("startless", "onnxruntime")
    got = engine.complete(observed, 3000)
    _, p = enumerated(engine, np.array(observed))
    assert got.exact == (observed[1] >= 0)
    near = limits(engine).nats if got.exact else 0.1
    assert abs(got.log_prob_observed - np.log(p.sum())) <= near


def test_without_resampling_particles_are_weighted_samples(
    load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Particle i has the noise of index first_index + i in its own stream, and its weight."""
    engine, observed = case(load, "wavenet")
    got = engine.complete(observed, 6, seed=SEED, first_index=9)
    others = engine.sample(6, seed=SEED, first_index=9, observed=observed)
    assert not np.array_equal(got.x, others.x)
    monkeypatch.setattr(arguments, "Noise", partial(Noise, stream=Stream.PARTICLES))
    samples = engine.sample(6, seed=SEED, first_index=9, observed=observed)
    assert got.resampled == 0
    assert np.array_equal(got.x, samples.x)
    weight = samples.log_prob - samples.log_q
    expected = np.logaddexp.reduce(weight) - np.log(6)
    assert got.log_prob_observed == pytest.approx(expected)
    np.testing.assert_allclose(got.log_weight, weight - expected - np.log(6))


@pytest.mark.slow
def test_backends_agree(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(particles, "UNEVEN", 2)
    engines = [case(load, "tiny", backend) for backend in ("torch", "onnxruntime")]
    one, other = (engine.complete(observed, 8, 1) for engine, observed in engines)
    assert np.array_equal(one.x, other.x)
    near = limits(engines[1][0]).nats
    assert abs(one.log_prob_observed - other.log_prob_observed) <= near


def test_uniforms_of_resampling(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    """Resampling uses the uniform of the next position in its own stream; `chosen` has the last."""
    real, used = particles.systematic, []

    def systematic(weight: NDArray[np.float64], u: float) -> NDArray[np.int64]:
        used.append(u)
        return real(weight, u)

    monkeypatch.setattr(particles, "UNEVEN", 2)
    monkeypatch.setattr(particles, "systematic", systematic)
    engine, observed = case(load, "tiny")
    engine.complete(observed, 4, 0, seed=6, first_index=2)
    at = np.array([2, 6, 9])
    assert used == uniforms(6, np.array([2]), at, stream=Stream.RESAMPLING)[0].tolist()


def test_launches_and_progress(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    engine, observed = case(load, "tiny after a block")
    whole = engine.complete(observed, 5, 0)
    reports: list[tuple[int, int]] = []
    monkeypatch.setattr(step_loop, "STEPS_PER_LAUNCH", 2)
    again = engine.complete(observed, 5, 0, progress=lambda *now: reports.append(now))
    assert np.array_equal(whole.x, again.x)
    assert [total for _, total in reports] == [45] * len(reports)
    assert [done for done, _ in reports] == sorted({done for done, _ in reports})
    assert reports[0] == (15, 45), "the prefix is not one block"
    assert reports[-1] == (45, 45)


def test_one_particle(load: Load) -> None:
    engine, observed = case(load, "tiny")
    got = engine.complete(observed, 1, 1)
    assert (got.ess, got.resampled, got.chosen.tolist()) == (1.0, 0, [0])
    assert got.log_weight.tolist() == [0.0]


def test_impossible(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the observed values are impossible for every particle, the estimate is 0, without NaN."""
    engine, observed = case(load, "tiny")
    real = OnnxRuntimeBinding.read

    def read(self: OnnxRuntimeBinding, name: str, part: Any = None) -> NDArray[np.generic]:
        found = real(self, name, part)
        return np.full_like(found, -np.inf) if name == "log_p" else found

    monkeypatch.setattr(OnnxRuntimeBinding, "read", read)
    got = engine.complete(observed, 4, 0)
    assert (got.log_prob_observed, got.ess, got.resampled) == (-np.inf, 0.0, 0)
    assert (got.log_weight == -np.inf).all()
    assert got.chosen.tolist() == [0, 1, 2, 3]


def test_systematic() -> None:
    """Each row is taken n * weight times, rounded up or down, on average over u exactly."""
    weight = np.array([0.0, 0.45, 0.05, 0.3, 0.2, 0.0])
    with np.errstate(divide="ignore"):
        log_weight = np.log(weight) - 700
    counts = np.array(
        [
            np.bincount(particles.systematic(log_weight, u), minlength=6)
            for u in (np.arange(1000) + 0.5) / 1000
        ]
    )
    np.testing.assert_allclose(counts.mean(axis=0), 6 * weight, atol=2e-3)
    assert (np.abs(counts - 6 * weight) < 1).all()
    assert not counts[:, [0, 5]].any()


def test_doctests() -> None:
    assert doctest.testmod(particles).attempted >= 3
    assert doctest.testmod(particles).failed == 0


OBSERVED = np.array([[-1, 0, -1], [-1, 1, 0], [-1, -1, 0]])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda e: e.complete(OBSERVED, 0, 0),
            r"particles: expected an integer in 1 \.\. \d+, got 0",
        ),
        (lambda e: e.complete(OBSERVED, True, 0), "particles: expected an integer, got True"),
        (lambda e: e.complete(OBSERVED), "`labels` is required"),
        (lambda e: e.complete(OBSERVED, 4, 2), r"labels: expected values in 0 \.\. 1, got 2"),
        (lambda e: e.complete(OBSERVED, 4, [0, 1, 0, 1]), "labels: expected one label"),
        (lambda e: e.complete(OBSERVED, 4, 0, seed=-1), "seed: expected an integer"),
        (lambda e: e.complete(OBSERVED, 4, 0, first_index=-1), "first_index: expected an integer"),
        (lambda e: e.complete(OBSERVED, 4, 0, first_index=2**32 - 2), "index: expected integers"),
        (lambda e: e.complete(OBSERVED[:2], 4, 0), "observed: expected shape"),
        (lambda e: e.complete(np.stack([OBSERVED] * 4), 4, 0), "observed: expected shape"),
        (
            lambda e: e.complete(OBSERVED + 3, 4, 0),
            r"observed: expected values in -1 \.\. 2, got 3",
        ),
        (lambda e: e.complete(OBSERVED - 1, 4, 0), "observed: expected values in -1"),
        (lambda e: e.complete(OBSERVED * 1.0, 4, 0), "observed: expected integers, got float64"),
    ],
)
def test_refused(load: Load, call: Callable[[Engine], object], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        call(load("tiny", "onnxruntime"))


def test_x_0_must_be_observed(load: Load) -> None:
    with pytest.raises(InvalidInput, match="x_0 is required, as the model has no start symbol"):
        load("startless", "onnxruntime").complete([-1, 1, -1, -1, 2, -1], 4)
