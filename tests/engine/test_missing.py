"""Values that are missing, masked or beyond float32 are refused, never taken as numbers."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ancestral.arrays import LARGEST, integers
from ancestral.engine import AutoregressiveEngine, Engine, LatentEngine
from ancestral.engine.interpolation import between
from ancestral.errors import BundleError, InvalidInput, NotADistribution
from ancestral.philox import Stream, normals
from tests.conftest import Load, autoregressive

pytestmark = pytest.mark.usefixtures("called_by_users")
X = np.random.default_rng(0).integers(0, 3, (2, 3, 3))
MASK = np.zeros((3, 3), bool)
MASK[1:, ::2] = True
ONE = np.ma.array([1, 2], mask=[False, True])


@pytest.fixture
def tiny(load: Load) -> AutoregressiveEngine:
    return autoregressive(load, "tiny", "onnxruntime")


@pytest.fixture
def bernoulli(load: Load) -> LatentEngine:
    engine = load("bernoulli", "onnxruntime")
    assert isinstance(engine, LatentEngine)
    return engine


@pytest.mark.parametrize("dtype", [np.int64, np.uint8])
def test_masked_value_is_free(tiny: AutoregressiveEngine, dtype: type) -> None:
    """A masked observation is free, even if the value behind the mask is not a level."""
    masked = np.ma.array(np.where(MASK, 77, X[0]).astype(dtype), mask=MASK)
    free = np.where(MASK, -1, X[0])
    got, expected = tiny.sample(4, 1, 5, observed=masked), tiny.sample(4, 1, 5, observed=free)
    assert np.array_equal(got.x, expected.x)
    assert (got.x[:, ~MASK] == X[0][~MASK]).all()
    assert len(np.unique(got.x[:, MASK], axis=0)) > 1, "masked values are not drawn"
    completed = [tiny.complete(each, 4, 1, 5).log_prob_observed for each in (masked, free)]
    assert completed[0] == completed[1]


@pytest.mark.parametrize(
    "call",
    [
        lambda e: e.log_prob(np.ma.array(X, mask=[MASK, MASK]), 0),
        lambda e: e.log_prob(X, ONE),
        lambda e: e.classify(np.ma.array(X, mask=[MASK, MASK])),
        lambda e: e.redraw(X, np.ma.array(np.full((2, 9), 0.5, np.float32), mask=X > 0), 0),
        lambda e: e.generate([ONE], labels=0),
        lambda e: e.generate([[1]], stop=ONE, labels=0),
        lambda e: e.sample(2, 0, observed=[np.ma.array(each, mask=MASK) for each in X]),
        lambda e: e.sample(2, [np.ma.masked, 0]),
    ],
)
def test_masked_elsewhere(tiny: AutoregressiveEngine, call: Callable[[Any], object]) -> None:
    with pytest.raises(InvalidInput, match=r"masked|got .*MaskedConstant"):
        call(tiny)


def test_empty_mask(tiny: AutoregressiveEngine) -> None:
    plain = np.ma.array(X, mask=np.zeros(X.shape, bool))
    assert np.array_equal(tiny.log_prob(plain, 0), tiny.log_prob(X, 0))


@pytest.mark.parametrize(
    ("missing", "words"),
    [
        (None, r"got None at index \(1, 2, 2\)"),
        (float("nan"), r"got nan at index \(1, 2, 2\)"),
        (np.datetime64("NaT"), r"got np.datetime64\('NaT'.* at index"),
    ],
)
def test_missing(tiny: AutoregressiveEngine, missing: object, words: str) -> None:
    x = X.astype(object)
    x[1, 2, 2] = missing
    with pytest.raises(InvalidInput, match=words):
        tiny.log_prob(x, 0)
    with pytest.raises(InvalidInput, match=words):
        tiny.sample(2, 0, observed=x.tolist())


def test_arguments_from_our_files(tiny: AutoregressiveEngine) -> None:
    """Arguments read from an .npz are accepted; seed and index are arrays without axes."""
    expected = tiny.sample(3, 1, seed=2**64 - 1, first_index=4)
    content = io.BytesIO()
    index, seed = np.asarray(4), np.asarray(2**64 - 1, np.uint64)
    np.savez(content, seed=seed, first_index=index, labels=expected.labels, n=np.asarray(3))
    saved = np.load(io.BytesIO(content.getvalue()))
    got = tiny.sample(**{name: saved[name] for name in saved.files})  # type: ignore[arg-type]
    assert np.array_equal(got.x, expected.x)
    assert np.array_equal(got.log_prob, expected.log_prob)


@pytest.mark.parametrize("toy", ["tiny", "startless", "bernoulli"])
def test_more_samples_than_indices(load: Load, toy: str) -> None:
    """Indices beyond those of a seed are refused, and too many samples, before any allocation."""
    engine: Any = load(toy, "onnxruntime")
    most, given = 2**32 - 1, {"labels": 1} if toy == "tiny" else {}
    if toy == "startless":
        given = {"observed": [2, -1, -1, -1, -1, -1]}
    with pytest.raises(InvalidInput, match=r"first_index: expected integers in 0 \.\. 2\^32 - 1"):
        engine.sample(3, first_index=most - 1, **given)
    if most * engine.data.length * 8 > LARGEST:
        with pytest.raises(InvalidInput, match=r"n: expected at most \d+ in one call"):
            engine.sample(most, **given)
    if toy != "bernoulli":
        first = next(engine.sample_batches(most, batch=2, seed=3, **given))
        assert np.array_equal(first.x, engine.sample(2, seed=3, **given).x)


def test_numbers_beyond_float32(bernoulli: LatentEngine, load: Load) -> None:
    shape = (2, *bernoulli.latent.shape)
    far = np.zeros(shape)
    far[1, 0] = -1e39
    with pytest.raises(InvalidInput, match=r"z: expected numbers within float32, got -1e\+39 at"):
        bernoulli.decode(far)
    noise = np.zeros((2, 1, 2))
    noise[0, 0, 1] = 1e300
    with pytest.raises(InvalidInput, match=r"noise: expected numbers within float32.*\(0, 0, 1\)"):
        bernoulli.log_weights(X % 2, noise)
    linear: Any = load("linear", "onnxruntime")
    with pytest.raises(InvalidInput, match=r"x: expected numbers within float32, got 1e\+39"):
        linear.bound(np.full((1, 5), 1e39))


def test_outputs_are_checked(bernoulli: LatentEngine, load: Load) -> None:
    """Outputs that are not finite are refused, as of a number too large for the model."""
    with pytest.raises(InvalidInput, match=r"noise: the model's log_\w+ is not finite"):
        bernoulli.log_weights(X % 2, np.full((2, 1, 2), 1e37))
    broken: Any = Engine.load(bernoulli.bundle.path, backend="torch", threads=1)
    last = broken.session("decode").program.model.decoder
    next(reversed(list(last.parameters()))).data[0] = float("nan")
    for call in (
        lambda: broken.decode(np.zeros((2, 2))),
        lambda: broken.reconstruct(X % 2),
        lambda: broken.interpolate(X % 2, X % 2),
        lambda: broken.latent_grid(2, (0, 1)),
        lambda: broken.sample(3),
        lambda: broken.sample(3, mean=True),
        lambda: broken.bound(X % 2),
        lambda: broken.log_weights(X % 2, np.zeros((2, 1, 2))),
    ):
        with pytest.raises(InvalidInput, match="is not finite at index 0"):
            call()


def test_absurd_sizes(load: Load) -> None:
    """Absurd sizes are refused before memory is allocated."""
    engine = autoregressive(load, "tiny", "onnxruntime")
    with pytest.raises(InvalidInput, match="batch: expected at most"):
        engine.sample_batches(2**32 - 1, 0, batch=2**32 - 1)
    with pytest.raises(InvalidInput, match="dimensions: expected noise that fits in memory"):
        normals(0, np.arange(1), np.arange(1), 2**34, stream=Stream.Z)


@pytest.mark.parametrize("error", [AttributeError, KeyError, IndexError])
def test_arrays_that_cannot_be_read(error: type[Exception]) -> None:
    class Broken:
        def __array__(self, *_: object, **__: object) -> np.ndarray:
            raise error("broken")

    with pytest.raises(InvalidInput, match="x: expected an array of numbers"):
        integers("x", Broken())


def test_bounds_of_codes_are_checked(load: Load) -> None:
    broken: Any = Engine.load(load("codes", "torch").bundle.path, backend="torch", threads=1)
    last = broken.session("log_likelihood").program.model.decoder
    next(reversed(list(last.parameters()))).data[0] = float("nan")
    x = np.zeros((2, *broken.data.event_shape), np.int64)
    with pytest.raises(InvalidInput, match="log_likelihood is not finite at index 0"):
        broken.bound(x)


def test_path_stays_within_float32() -> None:
    """A spherical path may leave float32: a corner turned onto an axis is too long."""
    corner, axis = np.full((1, 3), 3e38), np.array([[3e38, 0, 0]])
    assert np.isfinite(between(corner, axis, 5, "linear")).all()
    with pytest.raises(InvalidInput, match="path: expected numbers within float32"):
        between(np.full((1, 12), 3e38), np.eye(1, 12) * 3e38, 99, "spherical")


def test_nan_is_not_a_class(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = autoregressive(load, "tiny", "torch")
    real = type(engine).parallel

    def parallel(self: Any, *arguments: Any, **arrays: Any) -> dict[str, np.ndarray]:
        found = real(self, *arguments, **arrays)
        found["log_prob"][-1, 3] = np.nan
        return found

    monkeypatch.setattr(type(engine), "parallel", parallel)
    with pytest.raises(NotADistribution, match=r"log p.*NaN at index 1"):
        engine.classify(X)
    with pytest.raises(NotADistribution, match=r"sample 1: logits are .* at position 3"):
        engine.log_prob(X, 0)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"path": None}, "expected the directory of a bundle"),
        ({"path": 3}, "expected the directory of a bundle"),
        ({"backend": ["torch"]}, "backend: expected one of"),
        ({"backend": np.array(["torch", "torch"])}, "backend: expected one of"),
        ({"backend": None}, "backend: expected one of"),
        ({"device": None}, "device: expected"),
        ({"threads": 1.0}, "threads: expected an integer"),
        ({"threads": True}, "threads: expected an integer"),
        ({"threads": 2**31}, "threads: expected an integer in 1"),
        ({"backend": "triton", "dtype": ["float32"]}, "dtype: expected"),
        ({"backend": "triton", "dtype": np.float32}, "dtype: expected"),
        (
            {"backend": "triton", "batch_invariant": np.array([True, False])},
            "batch_invariant: expected True or False",
        ),
        (
            {"backend": "triton", "batch_invariant": "no"},
            "batch_invariant: expected True or False",
        ),
    ],
)
def test_load(tiny_bundle: Path, options: dict[str, Any], words: str) -> None:
    with pytest.raises((InvalidInput, BundleError), match=words):
        Engine.load(**({"path": tiny_bundle} | options))
