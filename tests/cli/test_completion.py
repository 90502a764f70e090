"""`sample --particles`: completions with their weights, and the estimate of log p(observed)."""

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ancestral.engine import Completion, Engine

from .conftest import Cli

ANYWHERE = np.array([[-1, 0, -1], [-1, 1, 0], [-1, -1, 0]])
FIRST = np.array([[2, 0, 1], [1, -1, -1], [-1, -1, -1]])


@pytest.fixture(scope="module")
def engine(tiny_bundle: Path) -> Engine:
    return Engine.load(tiny_bundle, threads=1)


@pytest.fixture(scope="module")
def expected(engine: Engine) -> Completion:
    return engine.complete(ANYWHERE, 8, 1, seed=3, first_index=2)


@pytest.fixture
def arguments(tiny_bundle: Path, tmp_path: Path) -> list[object]:
    """A command line that draws what `expected` is."""
    np.savez(tmp_path / "observed.npz", observed=ANYWHERE, other=np.zeros(1))
    file = tmp_path / "observed.npz"
    options = ["--label", 1, "--seed", 3, "--first-index", 2]
    return ["sample", tiny_bundle, "--observed", file, "--particles", 8, *options]


def estimate(said: str) -> float:
    """The number that is told, in nats."""
    found = re.search(r"log p\(observed\) = (-?\d+\.\d{4}) nats", said)
    assert found, said
    return float(found[1])


def test_npz(cli: Cli, arguments: list[object], tmp_path: Path, expected: Completion) -> None:
    out = tmp_path / "made" / "out.npz"
    result = cli(*arguments, "-o", out)
    assert (result.code, result.out) == (0, ""), result.err
    got = np.load(out)
    np.testing.assert_array_equal(got["x"], expected.x)
    np.testing.assert_array_equal(got["chosen"], expected.chosen)
    for name in ("log_weight", "log_prob", "log_prob_observed", "ess"):
        np.testing.assert_allclose(got[name], getattr(expected, name), atol=1e-4)
    assert (int(got["seed"]), int(got["first_index"]), bool(got["exact"])) == (3, 2, False)
    assert got["labels"].tolist() == [1] * 8
    assert estimate(result.err) == pytest.approx(expected.log_prob_observed, abs=1e-4)
    assert "exact only as they become many" in result.err
    assert f"effective sample size {expected.ess:.1f} of 8" in result.err
    assert f"resampled {expected.resampled} times" in result.err


@pytest.mark.parametrize("out", ["-", "out.txt"])
def test_text_is_drawn_by_weight(
    cli: Cli, arguments: list[object], tmp_path: Path, expected: Completion, out: str
) -> None:
    result = cli(*arguments, "-o", out if out == "-" else tmp_path / out)
    assert result.code == 0, result.err
    text = result.out if out == "-" else (tmp_path / out).read_text()
    rows = np.array([line.split() for line in text.splitlines()], np.int64)
    np.testing.assert_array_equal(rows, expected.x[expected.chosen].reshape(8, 9))
    assert "drawn by weight" in result.err


def test_picture(cli: Cli, arguments: list[object], tmp_path: Path) -> None:
    assert cli(*arguments, "-o", tmp_path / "out.png").code == 0
    with Image.open(tmp_path / "out.png") as picture:
        assert picture.width == picture.height


def test_exact(cli: Cli, tiny_bundle: Path, tmp_path: Path, engine: Engine) -> None:
    np.save(tmp_path / "observed.npy", FIRST)
    options = ["--particles", 4, "--label", 0, "-o", tmp_path / "out.npz"]
    result = cli("sample", tiny_bundle, "--observed", tmp_path / "observed.npy", *options)
    assert result.code == 0, result.err
    nats = engine.position_log_prob(np.maximum(FIRST, 0)[None], 0)[0, :4].sum()
    assert estimate(result.err) == pytest.approx(nats, abs=1e-4)
    assert "(exact: what is observed comes first in the ordering)" in result.err
    assert bool(np.load(tmp_path / "out.npz")["exact"]) is True


@pytest.mark.parametrize(
    ("options", "word"),
    [
        (["--temperature", "0.9"], "temperature=0.9"),
        (["--top-k", "2"], "top_k=2"),
        (["--top-p", "0.9"], "without filters"),
        (["--min-p", "0.1"], "without filters"),
        (["-n", "64"], "as many completions as --particles"),
        (["--batch", "4"], "--batch"),
        (["--particles", "0"], "particles: expected an integer in 1"),
        (["--label", "2"], "0 .. 1, got 2"),
        (["--seed", "-1"], "seed"),
        (["-o", "out.jpg"], "out.jpg"),
    ],
)
def test_refused(cli: Cli, arguments: list[object], options: list[str], word: str) -> None:
    result = cli(*arguments, *options)
    assert (result.code, result.out) == (2, "")
    assert word in result.err
    assert "Traceback" not in result.err


@pytest.mark.parametrize(
    ("observed", "word"),
    [
        (None, "--observed FILE"),
        (np.zeros((2, 3, 3), np.int64), "observed: expected one event"),
        (np.full((3, 3), 3), "-1 .. 2, got 3"),
        (np.zeros((3, 3)), "expected integers"),
    ],
    ids=["none", "several", "level", "dtype"],
)
def test_observed_is_refused(
    cli: Cli, tiny_bundle: Path, tmp_path: Path, observed: np.ndarray | None, word: str
) -> None:
    file = tmp_path / "observed.npy"
    options = [] if observed is None else ["--observed", file]
    if observed is not None:
        np.save(file, observed)
    result = cli("sample", tiny_bundle, "--particles", 4, "--label", 0, *options)
    assert (result.code, result.out) == (2, "")
    assert word in result.err


def test_label_is_needed(cli: Cli, tiny_bundle: Path, tmp_path: Path) -> None:
    """There is one event, so that labels do not take turns."""
    np.save(tmp_path / "observed.npy", ANYWHERE)
    options = ["--observed", tmp_path / "observed.npy", "--particles", 4]
    result = cli("sample", tiny_bundle, *options)
    assert result.code == 2
    assert "give a label" in result.err
