"""The engine: refused arguments with their messages, and shapes of results."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from ancestral.engine import Engine, Sampling
from ancestral.engine.sample import join
from ancestral.engine.session import Session
from ancestral.errors import BundleError, InvalidInput
from tests.conftest import Load

X = np.zeros((2, 3, 3), np.int64)


@pytest.fixture
def tiny(load: Load) -> Engine:
    return load("tiny", "onnxruntime")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda e: e.sample(0, labels=0), r"n: expected an integer in 1 \.\. \d+, got 0"),
        (lambda e: e.sample(-3, labels=0), r"n: expected an integer in 1 \.\. \d+, got -3"),
        (lambda e: e.sample(True, labels=0), "n: expected an integer, got True"),
        (lambda e: e.sample(2), "`labels` is required"),
        (lambda e: e.sample(2, labels=2), r"labels: expected values in 0 \.\. 1, got 2"),
        (lambda e: e.sample(2, labels=-1), r"labels: expected values in 0 \.\. 1, got -1"),
        (lambda e: e.sample(2, labels=[0, 1, 0]), r"labels: expected one label or \[2\], got"),
        (lambda e: e.sample(2, labels=np.array(0.5)), "labels: expected integers, got float64"),
        (lambda e: e.sample(2, labels=0, seed=-1), "seed: expected an integer"),
        (lambda e: e.sample(2, labels=0, first_index=-1), "first_index: expected an integer in 0"),
        (lambda e: e.sample(2, labels=0, first_index=2**32 - 1), "index: expected integers in 0"),
        (
            lambda e: e.sample(2, labels=0, observed=np.zeros((3, 2), int)),
            "observed: expected shape",
        ),
        (lambda e: e.sample(2, labels=0, observed=np.zeros((3, 3, 3), int)), "observed: expected"),
        (lambda e: e.sample(2, labels=0, observed=np.full((3, 3), 3)), "got 3 at index"),
        (lambda e: e.sample(2, labels=0, observed=np.full((3, 3), -2)), "got -2 at index"),
        (lambda e: e.sample(2, labels=0, observed=np.zeros((3, 3))), "observed: expected integers"),
        (lambda e: Sampling(temperature=-1.0), r"temperature: expected a number in \[0, .*got -1"),
        (
            lambda e: Sampling(temperature=math.nan),
            r"temperature: expected a number in \[0, .*got nan",
        ),
        (lambda e: e.log_prob(X + 3, labels=0), r"x: expected values in 0 \.\. 2, got 3 at index"),
        (lambda e: e.log_prob(X - 1, labels=0), r"x: expected values in 0 \.\. 2, got -1"),
        (lambda e: e.log_prob(X * 1.0, labels=0), "x: expected integers, got float64"),
        (lambda e: e.log_prob(X[:, :2], labels=0), r"x: expected events \[n, 3, 3\]"),
        (lambda e: e.log_prob(X[0], labels=0), r"x: expected events \[n, 3, 3\]"),
        (lambda e: e.log_prob(X[:0], labels=0), "with n >= 1"),
        (lambda e: e.log_prob(X), "`labels` is required"),
        (lambda e: e.redraw(X, np.ones((2, 9), np.float32), 0), r"in \(0, 1\)"),
        (
            lambda e: e.redraw(X, np.full((2, 8), 0.5, np.float32), 0),
            r"u: expected numbers of shape \[2, 9\]",
        ),
        (lambda e: list(e.sample_batches(2, labels=0, batch=0)), "batch: expected an integer in 1"),
        (lambda e: join([]), "samples: at least one batch is required"),
    ],
)
def test_refused(tiny: Engine, call: Callable[[Engine], object], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        call(tiny)


def test_refused_immediately(tiny: Engine) -> None:
    """`sample_batches` refuses arguments in the call, not when the first batch is requested."""
    with pytest.raises(InvalidInput, match="labels"):
        tiny.sample_batches(2, labels=5)


def test_labels_of_a_model_without(load: Load) -> None:
    with pytest.raises(InvalidInput, match="labels: the model has no classes"):
        load("llama", "onnxruntime").sample(2, labels=0)


@pytest.mark.parametrize("backend", ["torch", "onnxruntime"])
def test_x_0_must_be_observed(load: Load, backend: str) -> None:
    engine = load("startless", backend)
    with pytest.raises(InvalidInput, match="x_0 is required, as the model has no start symbol"):
        engine.sample(2)
    s = engine.sample(3, observed=[2, -1, -1, -1, -1, -1])
    assert (s.x[:, 0] == 2).all()
    assert not engine.position_log_prob(s.x)[:, 0].any(), "log p(x_0) is not 0"


def test_graph_not_exported(load: Load, backend: str) -> None:
    with pytest.raises(BundleError, match=r"no graph 'step_filtered', only .*export"):
        load("llama", backend).sample(1, sampling=Sampling(top_k=1))


def test_shapes(load: Load, backend: str) -> None:
    engine = load("tiny", backend)
    s = engine.sample(5, labels=1, seed=2, first_index=7)
    assert (s.x.shape, s.x.dtype) == ((5, 3, 3), np.int64)
    assert (s.log_prob.shape, s.log_prob.dtype) == ((5,), np.float64)
    assert (s.log_q.shape, s.labels.tolist(), s.first_index, len(s)) == ((5,), [1] * 5, 7, 5)
    assert engine.log_prob(s.x, labels=1).shape == (5,)
    assert np.array_equal(engine.log_prob(s.x, 1), engine.log_prob(s.x.reshape(5, 9), [1] * 5))


def test_one_observed_event_for_all(tiny: Engine) -> None:
    one = np.array([[0, -1, 2], [-1, 1, -1], [-1, -1, 0]])
    each = tiny.sample(4, labels=0, observed=np.broadcast_to(one, (4, 3, 3))).x
    assert np.array_equal(tiny.sample(4, labels=0, observed=one).x, each)
    assert (each[:, one >= 0] == one[one >= 0]).all()


def test_arguments_are_not_changed(tiny: Engine) -> None:
    observed, x = np.full((2, 3, 3), -1), X.copy()
    tiny.sample(2, labels=0, observed=observed)
    tiny.log_prob(x, labels=0)
    assert (observed == -1).all()
    assert not x.any()


def test_progress(tiny: Engine) -> None:
    """Progress counts the positions of all batches, in order, up to the total."""
    reports: list[tuple[int, int]] = []
    list(tiny.sample_batches(5, labels=0, batch=2, progress=lambda *now: reports.append(now)))
    assert [total for _, total in reports] == [45] * len(reports)
    assert [done for done, _ in reports] == sorted({done for done, _ in reports})
    assert reports[-1] == (45, 45)


def test_chunks(tiny: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Few events run at a time, to bound memory, with the results of one run."""
    x = np.random.default_rng(0).integers(0, 3, (7, 3, 3))
    label = np.arange(7) % 2
    whole = tiny.log_prob(x, label)
    monkeypatch.setattr("ancestral.engine.budget.PARALLEL", 2 * 9 * 1024)
    session, rows = tiny.session("log_prob"), []

    run = type(session).run

    def counted(self: Session, inputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        rows.append(len(inputs["x"]))
        return run(self, inputs)

    monkeypatch.setattr(type(session), "run", counted)
    np.testing.assert_allclose(tiny.log_prob(x, label), whole, rtol=0, atol=1e-5)
    assert rows == [2, 2, 2, 1]
