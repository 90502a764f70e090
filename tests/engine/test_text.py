"""The likelihood of long texts: each token compared with a direct evaluation."""

import math

import numpy as np
import pytest

from ancestral.engine import AutoregressiveEngine, budget
from ancestral.engine import text_likelihood as module
from ancestral.errors import InvalidInput, NotADistribution
from tests.conftest import Load, autoregressive
from tests.laws.laws import assert_close, limits
from tests.text_toys import CONTEXT
from tests.toys import BACKENDS

FAMILIES = ("text", "startless", "gru")


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> str:
    """Name of a backend, without the interpreted kernels, which take minutes."""
    return str(request.param)


def ids_of(engine: AutoregressiveEngine, n: int) -> np.ndarray:
    return np.random.default_rng(n).integers(0, engine.data.levels, n)


def direct(engine: AutoregressiveEngine, x: np.ndarray, stride: int) -> tuple[list[float], list]:
    """Return log p of each id, from one event per id that begins where its window does."""
    t, values, seen = engine.data.length, [], []
    for i in range(len(x)):
        k = 0 if i < t else math.ceil((i - t + 1) / stride)
        at = i - k * stride
        # Values after the id differ from the text's.
        event = np.full(t, (int(x[i]) + 1) % engine.data.levels)
        event[: at + 1] = x[k * stride : i + 1]
        values.append(float(engine.position_log_prob(event[None])[0, at]))
        seen.append(at)
    return values, seen


def check(engine: AutoregressiveEngine, n: int, stride: int | None) -> None:
    x, t = ids_of(engine, n), engine.data.length
    found = engine.text_likelihood(x, stride)
    assert found.stride == (t // 2 if stride is None else stride)
    expected, seen = direct(engine, x, found.stride)
    assert found.seen.tolist() == seen
    assert min(seen[t:], default=t) >= t - found.stride
    got = found.log_prob.astype(np.float64)
    assert_close(got, np.array(expected), limits(engine).nats, f"{n} ids, stride {stride}")
    assert found.total == pytest.approx(sum(expected), rel=1e-5)


@pytest.mark.parametrize("toy", FAMILIES)
def test_each_token(load: Load, toy: str, backend: str) -> None:
    engine = autoregressive(load, toy, backend)
    t, first = engine.data.length, engine.bundle.manifest.first_position
    for n in (1 + first, 3, t - 1, t, t + 1, 2 * t, 3 * t + 5):
        check(engine, n, None)
    for stride in (1, 2, t - 1, t - first):
        check(engine, 2 * t + 3, stride)


@pytest.mark.parametrize("rows", [1, 2])
def test_some_windows_at_a_time(load: Load, rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(budget, "WINDOWS", rows)
    engine = autoregressive(load, "text", "onnxruntime")
    reports: list[tuple[int, int]] = []
    engine.text_likelihood(ids_of(engine, 90), 10, progress=lambda *each: reports.append(each))
    assert reports[-1] == (90, 90)
    assert len(reports) == math.ceil(8 / rows)
    check(engine, 90, 10)


def test_planted(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    """Planted windows that begin a token too late fail the comparison."""
    real = module._chunks

    def late(n: int, t: int, stride: int) -> list[list[int]]:
        return [[start + (start > 0) for start in starts] for starts in real(n, t, stride)]

    monkeypatch.setattr(module, "_chunks", late)
    with pytest.raises(AssertionError):
        check(autoregressive(load, "text", "torch"), 60, 12)


def test_one_window_is_log_prob(load: Load, backend: str) -> None:
    engine = autoregressive(load, "text", backend)
    x = ids_of(engine, CONTEXT)
    limit = limits(engine).nats
    assert engine.text_likelihood(x).total == pytest.approx(engine.log_prob(x[None])[0], abs=limit)


def test_uniform_model(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    """A uniform model of v values has perplexity v and log2 v bits per id, in any windows."""
    engine = autoregressive(load, "startless", "torch")
    even = math.log(4)

    def parallel(self: object, graph: str, label: None, x: np.ndarray) -> dict[str, np.ndarray]:
        one = np.where(np.arange(x.shape[1]) == 0, 0, np.float32(-even))
        return {"log_prob": np.tile(one, (len(x), 1))}

    monkeypatch.setattr(type(engine), "parallel", parallel)
    found = engine.text_likelihood(np.zeros(21, np.int64))
    assert (found.scored, found.first_given) == (20, True)
    assert found.total == pytest.approx(-20 * even, rel=1e-6)
    assert found.perplexity == pytest.approx(4, rel=1e-6)
    assert found.bits_per_byte(10) == pytest.approx(2 * 20 / 10, rel=1e-6)


def test_first_id_without_a_start_is_given(load: Load) -> None:
    found = autoregressive(load, "startless", "onnxruntime").text_likelihood([1, 2, 3])
    assert found.log_prob[0] == 0
    assert found.scored == 2
    assert autoregressive(load, "text", "onnxruntime").text_likelihood([1, 2, 3]).scored == 3


@pytest.mark.parametrize(
    ("toy", "ids", "stride", "words"),
    [
        ("text", [], None, "expected at least 1, got 0"),
        ("startless", [1], None, "expected at least 2.*no probability"),
        ("text", [[1]], None, "got shape"),
        ("text", [0.5], None, "ids: expected integers, got float64"),
        ("text", [1, 293], None, r"0 \.\. 292, got 293 at index"),
        ("text", [1], 0, r"stride: expected an integer in 1 \.\. 24, got 0"),
        ("text", [1], CONTEXT + 1, "stride"),
        ("startless", [1, 2], 6, r"1 \.\. 5, got 6"),
        ("tiny", [1], None, "expected a model of sequences"),
    ],
)
def test_refused(load: Load, toy: str, ids: list, stride: int | None, words: str) -> None:
    with pytest.raises(InvalidInput, match=words):
        autoregressive(load, toy, "torch").text_likelihood(ids, stride)


def test_nan(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = autoregressive(load, "text", "torch")
    monkeypatch.setattr(
        type(engine),
        "parallel",
        lambda self, graph, label, x: {"log_prob": np.full(x.shape, np.nan, np.float32)},
    )
    with pytest.raises(NotADistribution):
        engine.text_likelihood([1, 2])


@pytest.mark.parametrize("toy", ["llama", "startless"])
def test_top_in_windows(load: Load, toy: str) -> None:
    """Each position has the most probable values of the window that scores it."""
    engine = autoregressive(load, toy, "onnxruntime")
    t, first = engine.data.length, engine.first_position
    ids = np.random.default_rng(6).integers(0, engine.data.levels, 15)
    stride = 2
    found = engine.text_likelihood(ids, stride, top=3)
    assert found.top is not None
    for i in range(first, len(ids)):
        start = max(0, -(-(i - t + 1) // stride)) * stride
        window = np.resize(ids[start : start + t], t)[None]
        alone = engine.log_prob(window, top=3)
        assert np.array_equal(found.top.ids[i], alone.top.ids[0, i - start])
        limit = limits(engine).nats
        assert_close(found.top.log_prob[i], alone.top.log_prob[0, i - start], limit, "top")
        assert found.top.most_likely[i] == (ids[i] == found.top.ids[i, 0])
    assert (found.top.ids[:first] == -1).all()
