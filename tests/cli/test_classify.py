"""`classify`: the engine's classes, and their accuracy if the true classes are known."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from ancestral.engine import Engine
from ancestral.engine.calibration import calibration

from .conftest import Cli

X = np.random.default_rng(0).integers(0, 3, (12, 3, 3))
Y = np.arange(12) % 2


@pytest.fixture(scope="module")
def engine(tiny_bundle: Path) -> Engine:
    return Engine.load(tiny_bundle, threads=1)


@pytest.fixture
def events(tmp_path: Path) -> Path:
    """Write events with their classes."""
    np.savez(tmp_path / "events.npz", x=X, y=Y)
    return tmp_path / "events.npz"


def test_classes_one_a_line(cli: Cli, tiny_bundle: Path, tmp_path: Path, engine: Engine) -> None:
    np.save(tmp_path / "x.npy", X)
    result = cli("classify", tiny_bundle, tmp_path / "x.npy", "--threads", 1)
    assert result.code == 0, result.err
    expected = engine.classify(X).label
    assert [int(line) for line in result.out.splitlines()] == expected.tolist()
    assert "12 events, 2 classes, onnxruntime on cpu" in result.err


def test_npz(cli: Cli, tiny_bundle: Path, tmp_path: Path, engine: Engine) -> None:
    np.savez(tmp_path / "events.npz", x=X)
    out = tmp_path / "made" / "classes.npz"
    result = cli("classify", tiny_bundle, tmp_path / "events.npz", "-o", out)
    assert (result.code, result.out) == (0, ""), result.err
    got, expected = np.load(out), engine.classify(X)
    assert set(got.files) == {"label", "log_posterior", "log_joint"}
    np.testing.assert_array_equal(got["label"], expected.label)
    np.testing.assert_allclose(got["log_posterior"], expected.log_posterior, atol=1e-5)
    np.testing.assert_allclose(got["log_joint"], expected.log_joint, atol=1e-5)


def test_true_classes(cli: Cli, tiny_bundle: Path, events: Path, engine: Engine) -> None:
    """The report has accuracy with its standard error, log loss, and calibration with its bins."""
    expected = calibration(engine.classify(X), Y)
    result = cli("classify", tiny_bundle, events)
    assert result.code == 0, result.err
    pattern = (
        r"accuracy (\S+) \+- (\S+) \(standard error\), log loss (\S+) nats, "
        r"expected calibration error (\S+)"
    )
    found = re.search(pattern, result.out)
    assert found, result.out
    names = ("accuracy", "accuracy_error", "log_loss", "expected_error")
    for text, name in zip(found.groups(), names, strict=True):
        assert float(text) == pytest.approx(getattr(expected, name), abs=1e-4), name
    for each in expected.bins:
        line = next(
            line for line in result.out.splitlines() if f"{each.low:.1f} to {each.high:.1f}" in line
        )
        cells = line.split()[3:]
        assert cells[0] == str(each.count)
        if each.count:
            assert float(cells[1]) == pytest.approx(each.confidence, abs=1e-3)
            assert float(cells[2]) == pytest.approx(each.accuracy, abs=1e-3)
        else:
            assert cells[1:] == ["-", "-"]


def test_json(cli: Cli, tiny_bundle: Path, events: Path, tmp_path: Path, engine: Engine) -> None:
    result = cli("classify", tiny_bundle, events, "--json")
    assert result.code == 0, result.err
    document = json.loads(result.out)
    expected = engine.classify(X)
    checked = calibration(expected, Y)
    assert document["label"] == expected.label.tolist()
    assert (document["events"], document["classes"]) == (12, 2)
    assert document["calibration"]["accuracy"] == checked.accuracy
    assert document["calibration"]["log_loss"] == pytest.approx(checked.log_loss, abs=1e-5)
    counts = [each["count"] for each in document["calibration"]["bins"]]
    assert counts == [each.count for each in checked.bins]
    assert document["calibration"]["bins"][0]["accuracy"] is None
    np.save(tmp_path / "x.npy", X[:1])
    without = cli("classify", tiny_bundle, tmp_path / "x.npy", "--json")
    assert json.loads(without.out)["calibration"] is None


def test_samples_are_read(cli: Cli, tiny_bundle: Path, tmp_path: Path) -> None:
    """The labels in a file of `sample` are read as the true classes."""
    assert cli("sample", tiny_bundle, "-n", 1, "-o", tmp_path / "one.npz").code == 0
    result = cli("classify", tiny_bundle, tmp_path / "one.npz")
    assert result.code == 0, result.err
    assert "accuracy" in result.out
    assert "+-" not in result.out, "a standard error of one event"


@pytest.mark.parametrize(
    ("arrays", "word"),
    [
        ({"x": X * 1.0}, "got float64"),
        ({"x": X[:, :2]}, "shape"),
        ({"x": X + 1}, "0 .. 2, got 3"),
        ({"x": X, "y": Y[:3]}, "expected one label or [12]"),
        ({"x": X, "y": Y + 1}, "0 .. 1, got 2"),
        ({"a": X, "b": Y}, "expected an array x"),
    ],
    ids=["dtype", "levels", "level", "labels", "label", "names"],
)
def test_bad_input(
    cli: Cli, tiny_bundle: Path, tmp_path: Path, arrays: dict[str, NDArray], word: str
) -> None:
    np.savez(tmp_path / "events.npz", **arrays)
    out = tmp_path / "out.npz"
    result = cli("classify", tiny_bundle, tmp_path / "events.npz", "-o", out)
    assert (result.code, result.out) == (2, "")
    assert word in result.err
    assert "Traceback" not in result.err
    assert not out.exists()


def test_bad_target_and_no_classes(
    cli: Cli, tiny_bundle: Path, bundles: Callable[[str], Path], events: Path, tmp_path: Path
) -> None:
    result = cli("classify", tiny_bundle, events, "-o", tmp_path / "classes.txt")
    assert result.code == 2
    assert ".npz" in result.err
    result = cli("classify", bundles("table"), events)
    assert result.code == 2
    assert "without classes" in result.err
