"""`train` and `export`: options reach the library, and existing files are not lost."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ancestral.train.checkpoint import load_checkpoint, save_checkpoint
from tests.toys import make

from .conftest import Cli


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write 60 images of 3 x 3 with 3 levels and 2 classes."""
    file = tmp_path_factory.mktemp("data") / "toy.npz"
    random = np.random.default_rng(0)
    np.savez(file, x=random.integers(0, 3, (60, 3, 3)), y=random.integers(0, 2, 60))
    return file


def test_train(cli: Cli, data: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    arguments = ["train", "--recipe", "tiny", "--data", f"npz:{data}", "-o", out, "--threads", 1]
    result = cli(*arguments, "--steps", 2, "--seed", 5)
    assert result.code == 0, result.err
    for word in ("p(x)", "p(x|y)", "+-", "model", "independent pixels", "neighbour table"):
        assert word in result.out
    model, checkpoint = load_checkpoint(out)
    assert checkpoint.config.summary is not None
    assert (checkpoint.config.summary.steps, checkpoint.config.summary.seed) == (2, 5)
    assert model.data.event_shape == (3, 3)

    before = (out / "weights.safetensors").read_bytes()
    refused = cli(*arguments, "--steps", 2, "--seed", 6)
    assert refused.code == 2
    assert "--resume" in refused.err
    assert (out / "weights.safetensors").read_bytes() == before
    assert cli(*arguments, "--steps", 2, "--seed", 5, "--resume").code == 0
    assert (out / "weights.safetensors").read_bytes() == before
    assert cli(*arguments, "--steps", 2, "--seed", 6, "--resume").code == 2
    changed = ("--steps", 2, "--batch-size", 3, "--seed", 6, "--overwrite")
    assert cli(*arguments, *changed).code == 0
    training = load_checkpoint(out)[1].config.training
    assert training is not None
    assert (training["steps"], training["batch_size"]) == (2, 3)
    assert (out / "weights.safetensors").read_bytes() != before


@pytest.mark.parametrize(
    ("model", "family"),
    [
        ("gru", "recurrent"),
        ("lstm", "recurrent"),
        ("wavenet", "wavenet"),
        ("pixelcnn", "pixelcnn"),
        ("table", "table"),
    ],
)
def test_train_every_family(cli: Cli, data: Path, tmp_path: Path, model: str, family: str) -> None:
    """`--model` trains a checkpoint of the family, which can be loaded."""
    out = tmp_path / "run"
    arguments = ["--recipe", "tiny", "--data", f"npz:{data}", "--threads", 1, "--steps", 2]
    result = cli("train", "-o", out, *arguments, "--model", model)
    assert result.code == 0, result.err
    trained, checkpoint = load_checkpoint(out)
    assert checkpoint.config.family == family
    assert checkpoint.config.summary is not None
    assert checkpoint.config.summary.recipe == f"tiny-{model}"
    assert trained.log_prob(torch.zeros(1, 9, dtype=torch.int64), torch.tensor([1])).isfinite()


def test_train_with_ordering_and_label_dropout(cli: Cli, data: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    arguments = ["--recipe", "tiny", "--data", f"npz:{data}", "--threads", 1, "--steps", 2]
    options = ["--ordering", "random:4", "--label-dropout", 0.3]
    result = cli("train", "-o", out, *arguments, *options)
    assert result.code == 0, result.err
    trained, _ = load_checkpoint(out)
    assert trained.data.ordering == "random:4"
    assert trained.label_optional
    assert trained.log_prob(torch.zeros(1, 9, dtype=torch.int64), torch.tensor([2])).isfinite()


@pytest.mark.parametrize(
    ("options", "word"),
    [
        (["--recipe", "none"], "recipe: expected one of"),
        (["--data", "pictures:here"], "--data: expected digits"),
        (["--data", "npz:nowhere.npz"], "nowhere.npz"),
        (["--data", "digits:here"], "--data: expected digits"),
        (["--steps", "0"], "steps"),
        (["--batch-size", "0"], "batch_size: expected a number >= 1, got 0"),
        (["--threads", "0"], "--threads"),
        (["--device", "cuda"], "cuda"),
        (["--model", "boltzmann"], "--model: expected one of transformer, gru"),
        (["--model", "mixture"], "recipe: expected one of"),
        (["--ordering", "diagonal"], "ordering: expected raster, column"),
        (["--model", "pixelcnn", "--ordering", "column"], "in raster order"),
        (["--label-dropout", "1.5"], "label_dropout: expected a number <= 1"),
    ],
)
def test_train_refuses(cli: Cli, data: Path, tmp_path: Path, options: list[str], word: str) -> None:
    defaults = ["--recipe", "tiny", "--data", f"npz:{data}"]
    result = cli("train", "-o", tmp_path / "run", *defaults, *options)
    assert result.code == 2, result.err
    assert word in result.err
    assert "Traceback" not in result.err
    assert not (tmp_path / "run").exists()


def test_recipe_that_needs_own_data(cli: Cli, tmp_path: Path) -> None:
    result = cli("train", "-o", tmp_path / "run", "--recipe", "text")
    assert result.code == 2
    assert "--data text:FILE" in result.err


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    save_checkpoint(
        tmp_path / "run", make("tiny"), log_prior=(float(np.log(0.25)), float(np.log(0.75)))
    )
    return tmp_path / "run"


@pytest.fixture
def exports(tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Replace the export itself, which has its own tests, by a copy of the toy's bundle."""
    calls: list[dict[str, Any]] = []

    def copy(model: Any, out: Path, *, progress: Any, **options: Any) -> Path:
        calls.append({"model": model, **options})
        progress("graph step")
        return Path(shutil.copytree(tiny_bundle, out, dirs_exist_ok=True))

    monkeypatch.setattr("ancestral.export.bundle.export_bundle", copy)
    return calls


def test_export_verifies(
    cli: Cli, checkpoint: Path, tmp_path: Path, exports: list[dict[str, Any]]
) -> None:
    result = cli("export", checkpoint, "-o", tmp_path / "bundle", "--overwrite", "--threads", 1)
    assert result.code == 0, result.err
    assert "graph step" in result.err
    assert "verifying on torch and onnxruntime" in result.err
    assert "torch cpu" in result.out
    assert "onnxruntime cpu" in result.out
    assert exports[0]["overwrite"] is True
    np.testing.assert_allclose(exports[0]["label_prior"], [0.25, 0.75])


def test_wrong_number_of_threads_is_refused_before_the_export(
    cli: Cli, checkpoint: Path, tmp_path: Path, exports: list[dict[str, Any]]
) -> None:
    result = cli("export", checkpoint, "-o", tmp_path / "bundle", "--threads", 0)
    assert (result.code, exports) == (2, [])
    assert "threads: expected an integer in 1" in result.err
    assert not (tmp_path / "bundle").exists()


def test_export_that_breaks_parity_fails(
    cli: Cli,
    checkpoint: Path,
    tmp_path: Path,
    exports: list[dict[str, Any]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("ancestral.parity.ParityReport.failures", ("log p: 1 is over 0",))
    result = cli("export", checkpoint, "-o", tmp_path / "bundle", "--threads", 1)
    assert result.code == 1
    assert "log p: 1 is over 0" in result.err
    assert cli("export", checkpoint, "-o", tmp_path / "bundle", "--no-verify").code == 0


def test_export_refuses(cli: Cli, checkpoint: Path, tmp_path: Path) -> None:
    assert cli("export", tmp_path / "nothing", "-o", tmp_path / "b").code == 2
    assert cli("export", checkpoint, "-o", tmp_path / "b", "--dtype", "float8").code == 2
    there = tmp_path / "there"
    there.mkdir()
    (there / "manifest.json").write_text(json.dumps({}))
    result = cli("export", checkpoint, "-o", there)
    assert result.code == 2
    assert "--overwrite" in result.err
    assert [file.name for file in there.iterdir()] == ["manifest.json"]


def test_altered_checkpoint_is_refused(
    cli: Cli, checkpoint: Path, tmp_path: Path, exports: list[dict[str, Any]]
) -> None:
    weights = checkpoint / "weights.safetensors"
    content = weights.read_bytes()
    weights.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    result = cli("export", checkpoint, "-o", tmp_path / "bundle")
    assert result.code == 2
    assert "altered" in result.err
    assert exports == []
