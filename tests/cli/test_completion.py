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
    """Three events, the first and the last the same, with their labels."""
    file = tmp_path_factory.mktemp("observed") / "several.npz"
    np.savez(file, observed=SEVERAL, y=[1, 0, 1])
    return file


def complete(cli: Cli, bundle: Path, file: Path, out: object, *options: object) -> str:
    """Complete with 8 particles of seed 3; what is said."""
    common = ["--observed", file, "--particles", 8, "--seed", 3, "-o", out]
    result = cli("sample", bundle, *common, *options)
    assert result.code == 0, result.err
    return result.err + result.out


def test_several_events(
    cli: Cli, tiny_bundle: Path, tmp_path: Path, engine: Engine, several: Path
) -> None:
    """Event i is what it is by itself from sample index first_index + i * particles on."""
    said = complete(cli, tiny_bundle, several, tmp_path / "out.npz", "--first-index", 2)
    got = np.load(tmp_path / "out.npz")
    assert got["x"].shape == (3, 8, 3, 3)
    assert got["labels"].tolist() == [[1] * 8, [0] * 8, [1] * 8]
    assert got["first_index"].tolist() == [2, 10, 18]
    assert got["exact"].tolist() == [False, True, False]
    for i, (event, label) in enumerate(zip(SEVERAL, (1, 0, 1), strict=True)):
        alone = engine.complete(event, 8, label, seed=3, first_index=2 + 8 * i)
        np.testing.assert_array_equal(got["x"][i], alone.x)
        np.testing.assert_array_equal(got["chosen"][i], alone.chosen)
        for name in ("log_prob", "log_weight", "log_prob_observed", "ess"):
            np.testing.assert_allclose(got[name][i], getattr(alone, name), atol=1e-4)
        assert f"event {i}: log p(observed) = {alone.log_prob_observed:.4f} nats" in said
    assert (got["x"][0] != got["x"][2]).any(), "the same event twice draws other noise"
    assert "3 events, 8 completions each, labels of" in said


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
    """The arrays have the axis that the file has."""
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
    """Labels do not take turns over events that were observed."""
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
    """Before the first event is completed, with the name of the file."""
    np.savez(tmp_path / "observed.npz", observed=SEVERAL, y=y)
    for options in (["--particles", 4], []):
        result = cli("sample", tiny_bundle, "--observed", tmp_path / "observed.npz", *options)
        refused(result, "observed.npz", word)


def test_no_indices_left(cli: Cli, tiny_bundle: Path, several: Path) -> None:
    options = ["--observed", several, "--particles", 8, "--first-index", 2**32 - 23]
    refused(cli("sample", tiny_bundle, *options), "first_index", "all 24 samples")


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
    """One event is for all samples, several have one sample each; labels go with events."""
    one = len(observed) != 3 or observed.ndim == 2
    y = [1] if one else [1, 0, 1]
    np.savez(tmp_path / "observed.npz", observed=observed, y=y)
    asked = [] if n is None else ["-n", n]
    options = ["--observed", tmp_path / "observed.npz", "-o", tmp_path / "out.npz"]
    result = cli("sample", tiny_bundle, *options, *asked)
    assert result.code == 0, result.err
    got = np.load(tmp_path / "out.npz")
    assert got["labels"].tolist() == (y * drawn if one else y)
    forced = np.broadcast_to(observed.reshape(-1, 9), (drawn, 9))
    values = got["x"].reshape(drawn, 9)
    np.testing.assert_array_equal(np.where(forced < 0, -1, values), forced)


def test_another_number_than_events(cli: Cli, tiny_bundle: Path, several: Path) -> None:
    refused(cli("sample", tiny_bundle, "--observed", several, "-n", 4), "-n: expected 3")
