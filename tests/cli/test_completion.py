"""`sample --particles`: completions with their weights, and the estimate of log p(observed)."""

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ancestral.engine import Completion, Engine

from .conftest import Cli, interrupt_at, refused

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
    """Return a command line that draws `expected`."""
    np.savez(tmp_path / "observed.npz", observed=ANYWHERE, other=np.zeros(1))
    file = tmp_path / "observed.npz"
    options = ["--label", 1, "--seed", 3, "--first-index", 2]
    return ["sample", tiny_bundle, "--observed", file, "--particles", 8, *options]


def estimate(printed: str) -> float:
    """Return the printed log p(observed), in nats."""
    found = re.search(r"log p\(observed\) = (-?\d+\.\d{4}) nats", printed)
    assert found, printed
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
    assert "exact in the limit of many particles" in result.err
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
    assert "(exact: the observed values come first in the ordering)" in result.err
    assert bool(np.load(tmp_path / "out.npz")["exact"]) is True


@pytest.mark.parametrize(
    ("options", "word"),
    [
        (["--temperature", "0.9"], "temperature=0.9"),
        (["--top-k", "2"], "top_k=2"),
        (["--top-p", "0.9"], "no filters"),
        (["--min-p", "0.1"], "no filters"),
        (["-n", "64"], "not used with --particles"),
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
        (np.zeros((2, 3, 4), np.int64), "observed: expected shape"),
        (np.zeros((0, 3, 3), np.int64), "at least one event"),
        (np.int64(3), "observed: expected shape"),
        (np.full((3, 3), 3), "-1 .. 2, got 3"),
        (np.zeros((3, 3)), "expected integers"),
    ],
    ids=["none", "shape", "empty", "0-d", "level", "dtype"],
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


SEVERAL = np.stack([ANYWHERE, FIRST, ANYWHERE])


@pytest.fixture(scope="module")
def several(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write three events with their labels; the first and the last event are equal."""
    file = tmp_path_factory.mktemp("observed") / "several.npz"
    np.savez(file, observed=SEVERAL, y=[1, 0, 1])
    return file


def complete(cli: Cli, bundle: Path, file: Path, out: object, *options: object) -> str:
    """Complete with 8 particles of seed 3; return everything printed."""
    common = ["--observed", file, "--particles", 8, "--seed", 3, "-o", out]
    result = cli("sample", bundle, *common, *options)
    assert result.code == 0, result.err
    return result.err + result.out


def test_several_events(
    cli: Cli, tiny_bundle: Path, tmp_path: Path, engine: Engine, several: Path
) -> None:
    """Event i is completed as in a separate call with first_index + i * particles."""
    printed = complete(cli, tiny_bundle, several, tmp_path / "out.npz", "--first-index", 2)
    got = np.load(tmp_path / "out.npz")
    assert got["x"].shape == (3, 8, 3, 3)
    assert got["labels"].tolist() == [[1] * 8, [0] * 8, [1] * 8]
    assert got["first_index"].tolist() == [2, 10, 18]
    assert got["exact"].tolist() == [False, True, False]
    for i, (event, label) in enumerate(zip(SEVERAL, (1, 0, 1), strict=True)):
        single = engine.complete(event, 8, label, seed=3, first_index=2 + 8 * i)
        np.testing.assert_array_equal(got["x"][i], single.x)
        np.testing.assert_array_equal(got["chosen"][i], single.chosen)
        for name in ("log_prob", "log_weight", "log_prob_observed", "ess"):
            np.testing.assert_allclose(got[name][i], getattr(single, name), atol=1e-4)
        assert f"event {i}: log p(observed) = {single.log_prob_observed:.4f} nats" in printed
    assert (got["x"][0] != got["x"][2]).any(), "two equal events share their noise"
    assert "3 events, 8 completions each, labels of" in printed


def test_picture_has_a_row_for_each_event(
    cli: Cli, tiny_bundle: Path, tmp_path: Path, several: Path
) -> None:
    complete(cli, tiny_bundle, several, tmp_path / "out.png")
    with Image.open(tmp_path / "out.png") as picture:
        width, height = picture.size
    assert (width - 2) * 3 == (height - 2) * 8


def test_text_of_several_events(cli: Cli, tiny_bundle: Path, tmp_path: Path, several: Path) -> None:
    complete(cli, tiny_bundle, several, tmp_path / "out.npz")
    complete(cli, tiny_bundle, several, tmp_path / "out.txt")
    got, rows = np.load(tmp_path / "out.npz"), np.loadtxt(tmp_path / "out.txt", dtype=np.int64)
    drawn = [x[chosen] for x, chosen in zip(got["x"], got["chosen"], strict=True)]
    np.testing.assert_array_equal(rows, np.reshape(drawn, (24, 9)))


def test_axis_of_one_event(cli: Cli, tiny_bundle: Path, tmp_path: Path) -> None:
    """The arrays have an axis of events if the file has it."""
    np.savez(tmp_path / "one.npz", observed=ANYWHERE, y=1)
    np.savez(tmp_path / "axis.npz", observed=ANYWHERE[None], y=[1])
    for name, shape in (("one", (8, 3, 3)), ("axis", (1, 8, 3, 3))):
        complete(cli, tiny_bundle, tmp_path / f"{name}.npz", tmp_path / "out.npz")
        assert np.load(tmp_path / "out.npz")["x"].shape == shape


def test_label_wins_over_the_file(
    cli: Cli, tiny_bundle: Path, tmp_path: Path, several: Path
) -> None:
    complete(cli, tiny_bundle, several, tmp_path / "out.npz", "--label", 0)
    assert (np.load(tmp_path / "out.npz")["labels"] == 0).all()


def test_label_is_needed(cli: Cli, tiny_bundle: Path, tmp_path: Path) -> None:
    """Observed events without labels are refused; labels are not given to them in turn."""
    np.save(tmp_path / "observed.npy", ANYWHERE)
    options = ["--observed", tmp_path / "observed.npy", "--particles", 4]
    refused(cli("sample", tiny_bundle, *options), "pass a label in 0 .. 1", "with y")


@pytest.mark.parametrize(
    ("y", "word"),
    [([1, 0], "expected one label or [3]"), ([1, 0, 2], "0 .. 1, got 2"), ([0.5] * 3, "float64")],
    ids=["number", "range", "dtype"],
)
def test_labels_of_the_file_are_refused(
    cli: Cli, tiny_bundle: Path, tmp_path: Path, y: list[int], word: str
) -> None:
    """Bad labels are refused before any event is completed; the message names the file."""
    np.savez(tmp_path / "observed.npz", observed=SEVERAL, y=y)
    for options in (["--particles", 4], []):
        result = cli("sample", tiny_bundle, "--observed", tmp_path / "observed.npz", *options)
        refused(result, "observed.npz", word)


def test_no_indices_left(cli: Cli, tiny_bundle: Path, several: Path) -> None:
    options = ["--observed", several, "--particles", 8, "--first-index", 2**32 - 23]
    refused(cli("sample", tiny_bundle, *options), "--first-index", "all 24 samples")


def test_interrupt_keeps_finished_events(
    cli: Cli,
    tiny_bundle: Path,
    tmp_path: Path,
    several: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    interrupt_at(3, monkeypatch)
    options = ["--observed", several, "--particles", 8, "-o", tmp_path / "out.npz"]
    result = cli("sample", tiny_bundle, *options)
    assert result.code == 130
    assert "2 of 3 events were finished and written" in result.err
    assert np.load(tmp_path / "out.npz")["x"].shape == (2, 8, 3, 3)


@pytest.mark.parametrize(
    ("observed", "n", "drawn"),
    [
        (ANYWHERE, 5, 5),
        (ANYWHERE[None], 5, 5),
        (ANYWHERE.reshape(1, 9), 5, 5),
        (ANYWHERE[None], None, 64),
        (SEVERAL, 3, 3),
        (SEVERAL, None, 3),
    ],
    ids=["one", "one with an axis", "one as a sequence", "without -n", "several", "as many"],
)
def test_without_particles(
    cli: Cli, tiny_bundle: Path, tmp_path: Path, observed: np.ndarray, n: int | None, drawn: int
) -> None:
    """One event is used for all samples, several get one sample each; labels follow events."""
    one = len(observed) != 3 or observed.ndim == 2
    y = [1] if one else [1, 0, 1]
    np.savez(tmp_path / "observed.npz", observed=observed, y=y)
    number = [] if n is None else ["-n", n]
    options = ["--observed", tmp_path / "observed.npz", "-o", tmp_path / "out.npz"]
    result = cli("sample", tiny_bundle, *options, *number)
    assert result.code == 0, result.err
    got = np.load(tmp_path / "out.npz")
    assert got["labels"].tolist() == (y * drawn if one else y)
    forced = np.broadcast_to(observed.reshape(-1, 9), (drawn, 9))
    values = got["x"].reshape(drawn, 9)
    np.testing.assert_array_equal(np.where(forced < 0, -1, values), forced)


def test_samples_other_than_events(cli: Cli, tiny_bundle: Path, several: Path) -> None:
    refused(cli("sample", tiny_bundle, "--observed", several, "-n", 4), "-n: expected 3")
