"""Comparisons of bundles: which positions count, windows of texts, memory, and what is refused."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from ancestral.engine import budget
from ancestral.engine.losses import compare, compare_log_probs, log_probs, windows
from ancestral.engine.losses.side import Side
from ancestral.engine.runner import Runner
from ancestral.errors import InvalidInput, NotADistribution
from ancestral.given_log_probs import GivenLogProbs
from ancestral.loss_measurement import Comparison, Ran
from tests.conftest import Load, autoregressive

RANDOM = np.random.default_rng(0)


def given(toy: str, load: Load, n: int = 7) -> tuple[Any, Any, np.ndarray, np.ndarray | None]:
    """Return a toy on two backends, events and labels."""
    bundle, source = (autoregressive(load, toy, each) for each in ("onnxruntime", "torch"))
    x = RANDOM.integers(0, bundle.data.levels, (n, *bundle.data.event_shape))
    classes = bundle.data.num_classes
    return bundle, source, x, None if classes is None else np.arange(n) // 2 % classes


@pytest.mark.parametrize("toy", ["tiny", "table", "startless"])
def test_numbers(toy: str, load: Load) -> None:
    """Log p is that of the engine; a position without a prediction is left out and counted."""
    bundle, source, x, y = given(toy, load)
    found = compare(bundle, source, x, y, seed=2)
    first = bundle.first_position
    np.testing.assert_array_equal(found.source, source.position_log_prob(x, y))
    np.testing.assert_array_equal(found.bundle, bundle.position_log_prob(x, y))
    assert found.counted[:, first:].all()
    assert not found.counted[:, :first].any()
    cost = found.cost("events")
    length = bundle.data.length
    assert (cost.positions, cost.left_out) == (7 * (length - first), 7 * first)
    assert cost.events == 7
    assert cost.bits_per_dim == pytest.approx(
        -bundle.log_prob(x, y).sum() / (7 * (length - first) * np.log(2))
    )
    assert cost.kl_mean is not None
    assert cost.kl_mean < 1e-9
    # The logits of a table are its entries, on every backend.
    assert (cost.kl_mean == 0) == (toy == "table")
    assert cost.same_top == 1


def test_reused(load: Load) -> None:
    """Log p that was computed before gives the same loss to the bit, without distributions."""
    bundle, source, x, y = given("tiny", load)
    whole = compare(bundle, source, x, y)
    again = compare_log_probs(bundle, log_probs(source, x, y))
    assert again.loss == whole.loss
    assert again.loss.nats != 0
    cost, other = again.cost("a"), whole.cost("a")
    assert cost.kl_mean is None
    assert cost.rms_delta_p == other.rms_delta_p
    assert cost.source_sha256 == other.source_sha256 == source.bundle.manifest.sha256
    assert (cost.source_backend, cost.worst) == (other.source_backend, other.worst)


def test_pieces(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    """Few events go through a graph at a time, and their number does not change the result."""
    bundle, source, x, y = given("tiny", load)
    whole = compare(bundle, source, x, y)
    rows = []
    run = Runner.parallel

    def counted(self: Runner, graph: str, *rest: Any, **arrays: Any) -> Any:
        rows.append(len(arrays["x"]))
        return run(self, graph, *rest, **arrays)

    monkeypatch.setattr(Runner, "parallel", counted)
    each = bundle.data.length * 1024
    monkeypatch.setattr(budget, "PARALLEL", 5 * each)
    reports: list[tuple[int, int]] = []
    pieces = compare(bundle, source, x, y, progress=lambda *at: reports.append(at))
    assert set(rows) == {2, 1}
    assert reports == [(2, 7), (4, 7), (6, 7), (7, 7)]
    assert whole.distributions is not None
    assert pieces.distributions is not None
    np.testing.assert_allclose(pieces.bundle, whole.bundle, atol=1e-5)
    np.testing.assert_array_equal(pieces.distributions.same_draw, whole.distributions.same_draw)


@pytest.mark.parametrize("toy", ["text", "gru", "wavenet"])
def test_short_sequences(toy: str, load: Load) -> None:
    """Sequences shorter than the model have the log p of their values in a longer event."""
    bundle, source, x, _ = given(toy, load)
    x = bundle.data.in_order(x)
    lengths = np.array([4, 4, 3, 1, 4, 2, 4])
    full = bundle.position_log_prob(bundle.data.in_place(x))[:, :4]
    inside = np.arange(4) < lengths[:, None]
    theirs = np.where(inside, full - 0.25, np.nan)
    found = compare_log_probs(bundle, GivenLogProbs(x[:, :4], lengths, theirs))
    assert found.unit == "windows"
    assert (found.counted == inside).all()
    np.testing.assert_allclose(found.differences[inside], -0.25, atol=1e-5)
    assert found.loss.nats == pytest.approx(-0.25, abs=1e-5)
    if toy != "wavenet":
        # Padding is anything: it does not count.
        own = compare(bundle, source, np.where(inside, x[:, :4], 1), lengths=lengths)
        np.testing.assert_array_equal(own.counted, inside)
        np.testing.assert_allclose(own.bundle[inside], full[inside], atol=1e-5)


def test_windows() -> None:
    x, lengths = windows([[1, 2, 3, 4, 5], [6], [7, 8]], 2, first_position=1)
    assert x.tolist() == [[1, 2], [3, 4], [7, 8]]
    assert lengths.tolist() == [2, 2, 2]
    with pytest.raises(InvalidInput, match="at least 2 tokens"):
        windows([[1], []], 2, first_position=1)
    with pytest.raises(InvalidInput, match="width: expected"):
        windows([[1]], 1, first_position=1)


def test_uneven_positions(load: Load) -> None:
    """The mean is over positions, so that a short window has a small weight."""
    bundle, _, x, _ = given("gru", load, 2)
    own = log_probs(bundle, x)
    shift = np.array([[0.3], [0.0]])
    given_ = replace(own, lengths=np.array([2, 6]), log_prob=own.log_prob + shift)
    assert compare_log_probs(bundle, given_).loss.nats == pytest.approx(0.3 * 2 / 8, abs=1e-6)


def test_missing_predictions(load: Load) -> None:
    """Positions without a given log p are left out and counted."""
    bundle, _, x, _ = given("gru", load)
    own = log_probs(bundle, x)
    holes = own.log_prob.copy()
    holes[:, 0], holes[2, 3] = np.nan, np.nan
    found = compare_log_probs(bundle, replace(own, log_prob=holes + 0.5))
    assert (found.left_out, int(found.positions.sum())) == (8, 34)
    assert found.loss.nats == pytest.approx(0.5)


def test_optional_labels(load: Load) -> None:
    """A model of p(x) as well as p(x | y) is compared with or without labels."""
    bundle, source, x, y = given("lstm", load)
    for labels in (None, y, 1):
        found = compare(bundle, source, x, labels)
        np.testing.assert_array_equal(found.bundle, bundle.position_log_prob(x, labels))


def test_models_with_other_first_positions(load: Load) -> None:
    """Only positions that both models predict are compared."""
    bundle, _, x, _ = given("startless", load)
    start = autoregressive(load, "gru", "onnxruntime")
    for pair in ((bundle, start), (start, bundle)):
        found = compare(*pair, x)
        assert not found.counted[:, 0].any()
        assert found.counted[:, 1:].all()
        assert found.left_out == 7


def test_latent(load: Load) -> None:
    """Bounds are compared from the same noise; there are no numbers about next values."""
    bundle, source = (load("convolved", each) for each in ("onnxruntime", "torch"))
    x = RANDOM.integers(0, 3, (5, 4, 4))
    reports: list[tuple[int, int]] = []
    found = compare(bundle, source, x, seed=4, k=8, progress=lambda *at: reports.append(at))
    np.testing.assert_array_equal(found.bundle[:, 0], bundle.bound(x, 8, 4).iwae)  # type: ignore[attr-defined]
    cost = found.cost("images")
    assert (cost.quantity, cost.k, cost.events, cost.positions) == ("bound", 8, 5, 80)
    assert cost.kl_mean is cost.rms_delta_p is None
    assert cost.worst[0].position is None
    assert abs(cost.loss_nats) < 1e-5
    assert reports[-1] == (80, 80)


@pytest.mark.usefixtures("called_by_users")
def test_other_data(load: Load) -> None:
    tiny = autoregressive(load, "tiny", "onnxruntime")
    x = np.zeros((2, 3, 3), int)
    for toy, field in (("table", "ordering"), ("gru", "event_shape")):
        with pytest.raises(InvalidInput, match=f"source: expected {field} .*, the bundle's, got"):
            compare(tiny, autoregressive(load, toy, "onnxruntime"), x, 0)
    latent = load("bernoulli", "onnxruntime")
    with pytest.raises(InvalidInput, match="source: expected a bundle of the same kind"):
        compare(tiny, latent, x, 0)
    with pytest.raises(InvalidInput, match="bundle: expected the engine of an autoregressive"):
        compare_log_probs(latent, log_probs(tiny, x, 0))
    with pytest.raises(InvalidInput, match="source: expected the engine"):
        log_probs(latent, x)
    with pytest.raises(InvalidInput, match="source: expected the engine"):
        compare(tiny, "bundle", x)  # type: ignore[arg-type]


@pytest.mark.usefixtures("called_by_users")
@pytest.mark.parametrize(
    ("x", "more", "words"),
    [
        (np.zeros((2, 4, 4), int), {}, r"data: expected events \[n, 3, 3\]"),
        (np.full((2, 3, 3), 3), {}, r"data: expected values in 0 .. 2"),
        (np.zeros((2, 3, 3)), {}, "data: expected integers"),
        (np.zeros((0, 3, 3), int), {}, "data: expected events"),
        (np.zeros((2, 3, 3), int), {"lengths": [1]}, "lengths: expected one for each of 2"),
        (np.zeros((2, 3, 3), int), {"lengths": [0, 9]}, r"lengths: expected values in 1 .. 9"),
        (np.zeros((2, 3, 3), int), {"seed": -1}, "seed: expected"),
        (np.zeros((2, 3, 3), int), {"labels": None}, "`labels` is required"),
        (np.zeros((2, 3, 3), int), {"labels": [0, 1, 0]}, "labels: expected"),
        (np.zeros((2, 3, 3), int), {"progress": 3}, "progress: expected"),
    ],
)
def test_bad_arguments(x: np.ndarray, more: dict[str, Any], words: str, load: Load) -> None:
    tiny = autoregressive(load, "tiny", "onnxruntime")
    with pytest.raises(InvalidInput, match=words):
        compare(tiny, tiny, x, **{"labels": 0, **more})


def test_one_event(load: Load) -> None:
    """A single event has a loss at each position, but no standard error."""
    tiny = autoregressive(load, "tiny", "onnxruntime")
    found = compare(tiny, tiny, np.zeros((1, 3, 3), int), 0)
    with pytest.raises(InvalidInput, match="at least 2 events or windows"):
        found.cost("one")


@pytest.mark.usefixtures("called_by_users")
def test_nan_names_the_model() -> None:
    """An error about NaN says which of the two models has it, and in which event."""
    nan = np.full((2, 3), np.nan, np.float32)
    runner = SimpleNamespace(
        data=SimpleNamespace(length=3), parallel=lambda *_, **__: {"log_prob": nan}
    )
    side = Side("source", runner, None)  # type: ignore[arg-type]
    x = np.zeros((2, 3), np.int64)
    with pytest.raises(NotADistribution, match="source: sample 5: logits are NaN"):
        side.log_prob(x, np.ones((2, 3), bool), 5)
    assert (side.log_prob(x, np.zeros((2, 3), bool), 5) == 0).all()


def test_impossible_values() -> None:
    """A value that only one model excludes has no finite loss; one that both exclude has loss 0."""
    source, bundle = np.zeros((2, 2)), np.zeros((2, 2))
    source[1, 0] = bundle[1, 0] = -np.inf
    counted, positions = np.ones((2, 2), bool), np.array([2, 2])
    ran = Ran("onnxruntime cpu float32", None, None, 0)
    assert Comparison(source, bundle, counted, positions, "events", ran).loss.nats == 0
    bundle[0, 1] = -np.inf
    with pytest.raises(InvalidInput, match="event 0, position 1: log p is -inf by the bundle"):
        Comparison(source, bundle, counted, positions, "events", ran)
