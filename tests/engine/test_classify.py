"""Classes by Bayes' rule: the posterior by enumeration, and its calibration on own samples."""

import itertools
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from ancestral.engine import AutoregressiveEngine, Classification, Engine
from ancestral.engine.calibration import BINS, calibration
from ancestral.errors import InvalidInput
from tests.conftest import Load
from tests.laws.laws import limits
from tests.tamper import change_manifest, copied

PRIOR = (0.9, 0.1)
N = 7


@pytest.fixture
def skewed(bundles: Callable[[str], Path], tmp_path: Path, backend: str) -> Callable[[str], Engine]:
    """Return a function that loads a toy with two classes, one of them rare."""

    def engine(toy: str) -> Engine:
        copy = copied(bundles(toy), tmp_path)
        change_manifest(copy, lambda values: values.update(label_prior=PRIOR))
        return Engine.load(copy, backend=backend, threads=1)

    return engine


def random_events(engine: Engine) -> NDArray[np.int64]:
    shape = (N, *engine.data.event_shape)
    return np.random.default_rng(1).integers(0, engine.data.levels, shape)


def check_posterior(engine: Engine) -> None:
    """Compare with p(x | y) of each class separately, times the prior, normalised in float64."""
    x = random_events(engine)
    got = engine.classify(x)
    joint = np.stack([engine.log_prob(x, y) + math.log(p) for y, p in enumerate(PRIOR)], axis=1)
    posterior = np.exp(joint) / np.exp(joint).sum(axis=1, keepdims=True)
    near = 2 * limits(engine).nats
    assert got.log_joint.shape == joint.shape
    assert np.abs(got.log_joint - joint).max() <= near, "joint"
    assert np.abs(got.log_posterior - np.log(posterior)).max() <= near, "posterior"
    np.testing.assert_allclose(np.exp(got.log_posterior).sum(axis=1), 1)
    assert np.array_equal(got.label, posterior.argmax(axis=1))
    assert (len(got), got.label.dtype) == (N, np.int64)


@pytest.mark.many
@pytest.mark.parametrize("toy", ["tiny", "lstm"])
def test_posterior(skewed: Callable[[str], Engine], toy: str) -> None:
    """The posterior is right, also for a model trained with "no label", which is not a class."""
    check_posterior(skewed(toy))


def test_chunks(skewed: Callable[[str], Engine], monkeypatch: pytest.MonkeyPatch) -> None:
    """The posterior is the same when events run in small groups, as many events do."""
    monkeypatch.setattr("ancestral.engine.budget.LABELLED", 5)
    check_posterior(skewed("tiny"))


@pytest.mark.many
@pytest.mark.parametrize("fault", ["prior dropped", "classes mixed"])
def test_planted(
    load: Load,
    skewed: Callable[[str], Engine],
    backend: str,
    monkeypatch: pytest.MonkeyPatch,
    fault: str,
) -> None:
    if fault == "prior dropped":
        engine = load("tiny", backend)
    else:
        engine = skewed("tiny")
        real = AutoregressiveEngine.parallel

        def parallel(self: Engine, graph: str, label: NDArray[np.int64], **x: object) -> object:
            return real(self, graph, np.sort(label), **x)

        monkeypatch.setattr(AutoregressiveEngine, "parallel", parallel)
    with pytest.raises(AssertionError, match="joint"):
        check_posterior(engine)


def test_joint_is_a_distribution(load: Load) -> None:
    """p(x, y) sums to 1 over every event and class."""
    engine = load("tiny", "onnxruntime")
    x = np.array(list(itertools.product(range(3), repeat=9)))
    total = np.exp(engine.classify(x).log_joint).sum()
    assert abs(total - 1) <= limits(engine).nats


def drawn(engine: Engine) -> tuple[Classification, NDArray[np.int64]]:
    """Draw events from the model; return their classification, and their true classes."""
    n = 600
    truth = (np.random.default_rng(2).random(n) < PRIOR[1]).astype(np.int64)
    return engine.classify(engine.sample(n, truth).x), truth


def check_calibrated(result: Classification, truth: NDArray[np.int64]) -> None:
    """Check that each class is as frequent as its stated probability, to 4 standard errors."""
    for y in range(result.log_posterior.shape[1]):
        gap = (truth == y) - np.exp(result.log_posterior[:, y])
        off = abs(gap.mean()) / (gap.std(ddof=1) / len(gap) ** 0.5)
        assert off < 4, f"class {y} is {off:.1f} standard errors off"
    assert calibration(result, truth).expected_error < 0.05


@pytest.mark.parametrize("backend", ["onnxruntime"])
def test_calibrated(skewed: Callable[[str], Engine]) -> None:
    check_calibrated(*drawn(skewed("tiny")))


def test_calibrated_planted(load: Load) -> None:
    """A wrong prior fails the test of calibration: it is even, but one class is rare."""
    with pytest.raises(AssertionError, match="standard errors off"):
        check_calibrated(*drawn(load("tiny", "onnxruntime")))


def stated(posterior: list[list[float]]) -> Classification:
    """Return a classification with these probabilities."""
    log_posterior = np.log(posterior)
    return Classification(log_posterior, log_posterior, log_posterior.argmax(axis=1))


def test_calibration_by_hand() -> None:
    """Two events have confidence 0.65, one right; one has 0.78, right; one has 0.95, wrong."""
    result = stated([[0.78, 0.22], [0.65, 0.35], [0.35, 0.65], [0.05, 0.95]])
    got = calibration(result, [0, 0, 0, 0])
    assert got.events == 4
    assert got.accuracy == 0.5
    assert got.accuracy_error == pytest.approx(np.std([1, 1, 0, 0], ddof=1) / 2)
    assert got.log_loss == pytest.approx(-np.log([0.78, 0.65, 0.35, 0.05]).mean())
    assert got.expected_error == pytest.approx((2 * 0.15 + 0.22 + 0.95) / 4)
    assert len(got.bins) == BINS
    assert [each.count for each in got.bins] == [0, 0, 0, 0, 0, 0, 2, 1, 0, 1]
    sixth = got.bins[6]
    assert (sixth.low, sixth.high, sixth.accuracy) == (0.6, 0.7, 0.5)
    assert sixth.confidence == pytest.approx(0.65)
    assert math.isnan(got.bins[0].accuracy)


def test_calibration_at_the_ends() -> None:
    """Confidence 1 is in the last bin, 0.5 in the bin it ends; one event has no standard error."""
    with np.errstate(divide="ignore"):
        certain = stated([[1.0, 0.0]])
    got = calibration(certain, 1)
    assert got.bins[-1].count == 1
    assert (got.accuracy, got.log_loss, got.expected_error) == (0.0, math.inf, 1.0)
    assert math.isnan(got.accuracy_error)
    even = Classification(np.log([[0.5, 0.5]]), np.log([[0.5, 0.5]]), np.array([0]))
    assert calibration(even, [0]).bins[4].count == 1
    assert got.to_json()["bins"][-1]["count"] == 1


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (np.zeros((2, 3, 4), np.int64), r"x: expected events \[n, 3, 3\]"),
        (np.full((2, 3, 3), 3), r"x: expected values in 0 \.\. 2, got 3"),
        (np.zeros((2, 3, 3)), "x: expected integers"),
    ],
)
def test_refused(load: Load, x: NDArray[np.generic], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        load("tiny", "onnxruntime").classify(x)


@pytest.mark.parametrize("labels", [[0, 1], [0, 2, 1], [0.0, 1.0, 0.0], [-1, 0, 0], 2])
def test_true_classes_are_refused(labels: object) -> None:
    with pytest.raises(InvalidInput, match="labels: expected"):
        calibration(stated([[0.5, 0.5]] * 3), labels)


def test_without_classes(load: Load) -> None:
    with pytest.raises(InvalidInput, match=r"expected a model with classes.*train it on data"):
        load("wavenet", "onnxruntime").classify(np.zeros((2, 3, 3), np.int64))


def test_impossible(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    """An event impossible under all classes is refused; under one, the other class is certain."""
    engine, real = load("tiny", "onnxruntime"), AutoregressiveEngine.parallel
    rows = [2, 3]

    def parallel(*arguments: object, **arrays: object) -> dict[str, NDArray[np.float32]]:
        result = real(*arguments, **arrays)
        result["log_prob"][rows, 0] = -np.inf
        return result

    monkeypatch.setattr(AutoregressiveEngine, "parallel", parallel)
    x = random_events(engine)
    with pytest.raises(
        InvalidInput, match="index 1 has probability 0 under all 2 classes; leave it out"
    ):
        engine.classify(x)
    rows.remove(2)
    got = engine.classify(x)
    assert got.label[1] == 0
    assert got.log_posterior[1].tolist() == [0.0, -np.inf]
