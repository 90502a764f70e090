"""LatentEngine: refused arguments, and results compared with PyTorch or a direct computation."""

import numpy as np
import pytest

from ancestral.engine import AutoregressiveEngine, Engine, LatentEngine, Sampling
from ancestral.engine.interpolation import between
from ancestral.errors import InvalidInput
from ancestral.train.bounds import ENGINE
from ancestral.train.bounds import bound as torch_bound
from tests.conftest import Load
from tests.latent_toys import make_latent
from tests.laws.laws import assert_close
from tests.laws.test_bounds import limit


@pytest.fixture
def images(load: Load) -> LatentEngine:
    engine = load("convolved", "onnxruntime")
    assert isinstance(engine, LatentEngine)
    return engine


def refused(pattern: str, call: object, *arguments: object, **named: object) -> None:
    with pytest.raises(InvalidInput, match=pattern):
        call(*arguments, **named)  # type: ignore[operator]


X = np.random.default_rng(0).integers(0, 3, (4, 4, 4))


def test_bad_bounds(images: LatentEngine) -> None:
    refused(r"k: expected an integer in 1 \.\.", images.bound, X, k=0)
    refused(r"x: expected events \[n, 4, 4\]", images.bound, X[:, :3])
    refused(
        r"x: expected values in 0 \.\. 2, got 3 at index \(1, 2, 3\)", images.bound, bad_level()
    )
    refused("x: expected integers, got float64", images.bound, X * 1.0)
    nan = X * 1.0
    nan[2, 1, 0] = np.nan
    refused(r"x: expected finite numbers, got nan at index \(2, 1, 0\)", images.bound, nan)
    refused("seed", images.bound, X, seed=-1)
    refused("proposal: expected one of .'posterior', 'prior'.", images.bound, X, proposal="q")
    refused("no classes", images.bound, X, labels=1)


def bad_level() -> np.ndarray:
    x = X.copy()
    x[1, 2, 3] = 3
    return x


def test_bad_noise(images: LatentEngine) -> None:
    shape = r"noise: expected numbers of shape \[4, any, 3\], got float64 \[4, 7, 2\]"
    refused(shape, images.log_weights, X, np.zeros((4, 7, 2)))
    refused("noise: expected numbers of shape", images.log_weights, X, np.zeros((3, 7, 3)))
    refused(r"got inf at index \(0, 0, 0\)", images.log_weights, X, np.full((4, 1, 3), np.inf))


def test_bad_densities(load: Load) -> None:
    engine = load("linear", "onnxruntime")
    x = np.full((3, 5), 0.5)
    x[1, 4] = np.nan
    refused(r"x: expected finite numbers, got nan at index \(1, 4\)", engine.bound, x)
    refused(r"x: expected events \[n, 5\]", engine.bound, x[:, :4])
    assert len(engine.bound(np.zeros((2, 5), int))) == 2


def test_bad_latents(images: LatentEngine, load: Load) -> None:
    refused(r"z: expected numbers of shape \[any, 3\]", images.decode, np.zeros((2, 4)))
    codes = load("codes", "onnxruntime")
    refused(r"z: expected values in 0 \.\. 3, got 4", codes.decode, np.full((1, 4), 4))
    refused("z: expected integers", codes.decode, np.zeros((1, 4)))
    refused(r"z: expected codes \[n, 4\]", codes.decode, np.zeros((1, 5), int))


def test_bad_samples(images: LatentEngine) -> None:
    refused("temperature", lambda: images.sample(2, sampling=Sampling(temperature=-1.0)))
    refused("expected only a temperature", images.sample, 2, sampling=Sampling(top_p=0.9))
    refused("n: expected", images.sample, 0)
    refused("no classes", images.sample, 2, labels=0)


def test_bad_paths(images: LatentEngine, load: Load) -> None:
    refused("steps: expected", images.interpolate, X[:1], X[1:2], steps=1)
    refused(
        r"path: expected one of \['linear', 'spherical'\]",
        images.interpolate,
        X[:1],
        X[1:2],
        3,
        "zigzag",
    )
    refused("end: expected 2 events", images.interpolate, X[:2], X[2:3])
    refused("dimensions: expected", images.latent_grid, 3, (0, 3))
    codes = load("codes", "onnxruntime")
    refused("with real latents, got one with codes", codes.latent_grid)
    refused("with real latents, got one with codes", codes.interpolate, X[:1], X[1:2])
    refused("expected 'posterior' for a model with codes", codes.bound, X, proposal="prior")
    refused(
        "with real latents, got one with codes; use `bound`",
        codes.log_weights,
        X,
        np.zeros((4, 1, 4)),
    )


def test_encoder_that_breaks_down(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    """An encoder whose output is not finite is refused, with the index of the event."""
    engine = Engine.load(load("convolved", "onnxruntime").bundle.path, backend="torch", threads=1)
    session = engine.session("encode")
    weight = session.program.model.encoder.out.bias
    weight.data[0] = float("inf")
    refused(r"mean is not finite at index 0 \(4 of 4 events\)", engine.bound, X)
    refused("not finite", engine.encode, X)


def test_class_depends_on_the_bundle(load: Load) -> None:
    """The bundle's kind chooses the class; the other class's message names the right method."""
    latent, plain = load("convolved", "onnxruntime"), load("tiny", "onnxruntime")
    assert isinstance(latent, LatentEngine)
    assert isinstance(plain, AutoregressiveEngine)
    refused("has `bound`, a lower bound", AutoregressiveEngine.load, latent.bundle.path)
    refused("has `log_prob`, which is exact", LatentEngine.load, plain.bundle.path)


@pytest.mark.parametrize("toy", ["bernoulli", "linear", "convolved", "colours"])
def test_bound_is_that_of_pytorch(load: Load, toy: str) -> None:
    """The engine draws PyTorch's noise, and the uniforms that make real values of levels."""
    engine = load(toy, "onnxruntime")
    shape = engine.data.event_shape
    x = np.random.default_rng(1).integers(0, engine.data.levels, (5, *shape))
    got = engine.bound(x, k=9, seed=3, first_index=2)
    model = make_latent(toy)
    expected = torch_bound(model, x.reshape(5, -1), 9, seed=3, first_index=2, streams=ENGINE)
    for name in ("elbo", "iwae", "reconstruction", "kl"):
        assert_close(getattr(got, name), getattr(expected, name), 2 * limit(engine), name)
    assert (got.kl_closed is None) == (toy in ("convolved", "colours"))
    if got.kl_closed is not None and expected.kl_closed is not None:
        assert_close(got.kl_closed, expected.kl_closed, limit(engine), "kl_closed")


def test_progress(images: LatentEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Progress counts pairs of an event and a latent, in order, up to the total."""
    monkeypatch.setattr("ancestral.engine.budget.CACHED", 16 * 48)
    reports: list[tuple[int, int]] = []
    images.bound(X, k=20, progress=lambda done, total: reports.append((done, total)))
    assert reports == sorted(reports)
    assert reports[-1] == (80, 80)
    assert len(reports) > 4


def test_levels_and_middles(load: Load) -> None:
    """`encode`, which has no seed, takes a level of a density as the middle of its interval."""
    engine = load("linear", "onnxruntime")
    x = np.random.default_rng(2).integers(0, 4, (3, 5))
    assert np.array_equal(engine.encode(x)["mean"], engine.encode(x + 0.5)["mean"])


def test_reconstruct(images: LatentEngine) -> None:
    q = images.encode(X)
    assert set(q) == {"mean", "factor"}
    parameters, mean = images.decode(q["mean"])
    assert parameters.shape == (4, 16, 3)
    assert np.array_equal(images.reconstruct(X), mean)
    p = np.exp(parameters.astype(np.float64))
    p /= p.sum(axis=-1, keepdims=True)
    assert_close(mean.reshape(4, 16), p @ np.arange(3.0), 1e-5, "E[x | z]")


def test_interpolate(images: LatentEngine) -> None:
    """The ends are reconstructions; a great circle keeps the length if both ends have it."""
    for path in ("linear", "spherical"):
        found = images.interpolate(X[:2], X[2:], steps=5, path=path)
        assert found.shape == (2, 5, 4, 4)
        assert_close(found[:, 0], images.reconstruct(X[:2]), 1e-5, "start")
        assert_close(found[:, -1], images.reconstruct(X[2:]), 1e-5, "end")
    a, b = np.array([[3.0, 0.0]]), np.array([[0.0, 3.0]])
    circle = between(a, b, 7, "spherical")
    assert_close(np.linalg.norm(circle, axis=-1), np.full((1, 7), 3.0), 1e-5, "length")
    assert_close(between(a, b, 3, "linear")[0, 1], np.array([1.5, 1.5]), 1e-6, "middle")
    assert_close(between(a, 2 * a, 3, "spherical")[0, 1], np.array([4.5, 0.0]), 1e-6, "parallel")
    assert np.isfinite(between(a, -a, 3, "spherical")).all()
    assert np.isfinite(between(0 * a, b, 3, "spherical")).all()


def test_latent_grid(images: LatentEngine) -> None:
    found = images.latent_grid(3, (2, 0))
    assert found.shape == (3, 3, 4, 4)
    edge = 0.9674215661017014  # the normal quantile of 5/6
    z = np.zeros((2, 3), np.float32)
    z[0] = [edge, 0, -edge]
    assert_close(found[0, 2], images.decode(z[:1])[1][0], 1e-5, "a corner")
    assert images.latent_grid(2).shape == (2, 2, 4, 4)
    first, second = images.widest()
    assert first != second
    assert np.array_equal(images.latent_grid(2), images.latent_grid(2, (first, second)))


def test_means_instead_of_draws(images: LatentEngine) -> None:
    drawn, mean = images.sample(6, seed=1), images.sample(6, seed=1, mean=True)
    assert np.array_equal(drawn.z, mean.z)
    assert mean.log_likelihood is None
    assert_close(mean.x, images.decode(drawn.z)[1], 1e-5, "E[x | z]")
    assert drawn.x.dtype == np.int64
    assert len(drawn) == 6


def test_labels_condition_the_prior(load: Load) -> None:
    engine = load("codes", "onnxruntime")
    one, two = (engine.sample(20, labels=y, seed=2) for y in (0, 1))
    assert one.labels is not None
    assert not np.array_equal(one.z, two.z)
    mixed = engine.sample(20, labels=np.arange(20) % 2, seed=2)
    assert np.array_equal(mixed.z[::2], one.z[::2])
    refused("`labels` is required: the model is conditional", engine.sample, 2)
    warm = engine.sample(20, labels=0, seed=2, sampling=Sampling(temperature=0.0))
    assert len({tuple(z) for z in warm.z.tolist()}) == 1
