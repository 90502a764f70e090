"""`--binarise`: a model of bits reads the file that it was trained on as the same bits."""

from pathlib import Path

import numpy as np
import pytest

from ancestral.cli.events import Events
from ancestral.engine import LatentEngine
from ancestral.train.checkpoint import load_checkpoint
from ancestral.train.data import load_npz
from ancestral.train.evaluation import model_log_prob

from .conftest import Bundles, Cli, numbers, refused, saved, training

X = np.random.default_rng(0).integers(0, 5, (9, 3, 3))


@pytest.fixture
def bundle(bundles: Bundles) -> Path:
    return bundles("bernoulli")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return saved(tmp_path, x=X)


@pytest.fixture
def bits(file: Path) -> np.ndarray:
    """Return the events as training binarises them, in the order of the file."""
    data, bits = load_npz(file).binarised(), np.empty((9, 9), np.int64)
    for name in ("train", "validation", "test"):
        bits[getattr(data.split, name)] = getattr(data, name).x
    return bits.reshape(9, 3, 3)


def test_bound(cli: Cli, bundle: Path, file: Path, bits: np.ndarray, tmp_path: Path) -> None:
    out = tmp_path / "bound.npz"
    options = ["-k", 4, "--threads", 1, "-o", out]
    result = cli("bound", bundle, file, "--binarise", *options)
    assert result.code == 0, result.err
    assert f"{file}: 9 events with levels 0 .. 4 were binarised" in result.err
    expected = LatentEngine.load(bundle, threads=1).bound(bits, 4)
    np.testing.assert_array_equal(np.load(out)["elbo"], expected.elbo)
    part = saved(tmp_path, x=np.minimum(X, 3))
    assert cli("bound", bundle, part, "--binarise", *options).code == 0
    assert not np.array_equal(np.load(out)["elbo"], expected.elbo)


def test_encode_reconstruct_interpolate(
    cli: Cli, bundle: Path, file: Path, bits: np.ndarray, tmp_path: Path
) -> None:
    engine, out = LatentEngine.load(bundle, threads=1), tmp_path / "out.npz"
    options = ["--binarise", "--threads", 1, "-o"]
    assert cli("encode", bundle, file, *options, out).code == 0
    np.testing.assert_array_equal(np.load(out)["mean"], engine.encode(bits)["mean"])
    assert cli("reconstruct", bundle, file, *options, out).code == 0
    np.testing.assert_array_equal(np.load(out)["x"], bits)
    assert cli("interpolate", bundle, file, "--steps", 2, *options, out).code == 0
    ends = np.load(out)["x_mean"]
    np.testing.assert_allclose(ends[:, 0], engine.reconstruct(bits[0:8:2]), atol=1e-6)


def test_levels_of_a_part(
    cli: Cli, bundle: Path, file: Path, bits: np.ndarray, tmp_path: Path
) -> None:
    """The number of levels is the whole file's, also for a picture of its first events.

    `--levels` gives it for a file that has only a part of the events.
    """
    picture, whole = tmp_path / "out.png", tmp_path / "whole.png"
    dark = np.concatenate([np.minimum(X[:2], 3), X[2:]])
    several = ["--binarise", "-n", 2, "--threads", 1, "-o"]
    assert (
        "levels 0 .. 4" in cli("reconstruct", bundle, saved(tmp_path, x=dark), *several, whole).err
    )
    part = saved(tmp_path, x=dark[:2])
    assert "levels 0 .. 3" in cli("reconstruct", bundle, part, *several, picture).err
    assert picture.read_bytes() != whole.read_bytes()
    result = cli("reconstruct", bundle, part, "--levels", 5, *several, picture)
    assert "levels 0 .. 4" in result.err
    assert picture.read_bytes() == whole.read_bytes()


@pytest.mark.parametrize("command", ["bound", "encode", "reconstruct", "interpolate"])
def test_refusal_suggests_the_option(
    cli: Cli, bundle: Path, file: Path, tmp_path: Path, command: str
) -> None:
    result = cli(command, bundle, file, "-o", tmp_path / "out.npz", "--threads", 1)
    refused(result, f"{file}: x: ", "values up to 4, the model has 2 levels; pass --binarise")


@pytest.mark.parametrize(
    ("x", "options", "words"),
    [
        (X % 2, [], "expected more than 2 levels"),
        (X / 4, [], "expected integers, got float64"),
        (X - 1, [], "expected values in 0 .. 3, got -1"),
        (X, ["--levels", 4], "expected values in 0 .. 3, got 4"),
        (X, ["--levels", 2], "--levels: expected an integer >= 3"),
        (X[:, :2], [], "expected events [n, 3, 3]"),
        (X[0], [], "expected events [n, 3, 3]"),
        (X[:0], [], "expected events [n, 3, 3]"),
    ],
    ids=["binary", "real", "negative", "beyond", "two", "shape", "one event", "none"],
)
def test_refused(
    cli: Cli, bundle: Path, tmp_path: Path, x: np.ndarray, options: list[object], words: str
) -> None:
    result = cli("bound", bundle, saved(tmp_path, x=x), "--binarise", "--threads", 1, *options)
    assert result.code == 2
    assert words in result.err


def test_for_models_of_bits(cli: Cli, bundle: Path, tiny_bundle: Path, file: Path) -> None:
    refused(cli("bound", bundle, file, "--levels", 5), "--levels: only used with --binarise")
    for command in ("log-prob", "classify"):
        result = cli(command, tiny_bundle, file, "--binarise")
        refused(result, "--binarise: expected a model with 2 levels, got one with 3")
    result = cli("log-prob", tiny_bundle, "--ids", file, "--binarise")
    refused(result, "--binarise: only used with FILE (events)")


def test_log_prob_of_training(cli: Cli, images: Path, tmp_path: Path) -> None:
    """The test events have the log-likelihood that training printed."""
    printed = cli(*training(images, "table", tmp_path / "run", steps=1), "--binarise")
    assert printed.code == 0, printed.err
    model, _ = load_checkpoint(tmp_path / "run")
    data = load_npz(images)
    x = Events.read(images, binarise=True, levels=None).of_model(model.data)
    nats = model_log_prob(model)(x.reshape(60, 16)[data.split.test], data.test.label)
    bits = -nats.mean() / 16 / np.log(2)
    assert numbers(printed.out, "model")[2] == pytest.approx(bits, abs=5.1e-5)
    others = model_log_prob(model)(x.reshape(60, 16)[data.split.train[:12]], data.test.label)
    assert -others.mean() / 16 / np.log(2) != pytest.approx(bits, abs=5.1e-5)


@pytest.mark.slow
def test_log_prob_of_training_in_a_bundle(cli: Cli, images: Path, tmp_path: Path) -> None:
    """`log-prob` of the exported bundle gives the log-likelihood that `train` printed."""
    run, bundle, out = tmp_path / "run", tmp_path / "bundle", tmp_path / "out.npz"
    printed = cli(*training(images, "table", run, steps=1), "--binarise")
    assert cli("export", run, "-o", bundle).code == 0
    assert cli("log-prob", bundle, images, "--binarise", "-o", out).code == 0
    test = load_npz(images).split.test
    bits = -np.load(out)["log_prob"][test].mean() / 16 / np.log(2)
    assert numbers(printed.out, "model")[2] == pytest.approx(bits, abs=5.1e-5)
    result = cli("classify", bundle, images, "--binarise")
    assert result.code == 0, result.err
    assert "60 events" in result.err
    refused(cli("log-prob", bundle, images), "pass --binarise")
