"""`train` on every kind of data: refused models, names and units in tables, the estimated time."""

import re
from functools import partial
from itertools import count
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from rich.table import Table

from ancestral.cli import stages
from ancestral.cli.present.bound_table import bound_table, code_table
from ancestral.cli.present.evaluation import evaluation_table
from ancestral.dataspec import DataSpec
from ancestral.train.bounds import encoded
from ancestral.train.checkpoint import load_checkpoint
from ancestral.train.data.dataset import Dataset, cut, fractional_split
from ancestral.train.models.families import build_model
from ancestral.train.models.transformer_config import TransformerConfig
from ancestral.train.models.vqvae import VQVAE, VQVAEConfig
from ancestral.train.progress import Pace
from ancestral.train.recipes import recipe

from .conftest import Cli, refused, saved

ONE_STEP = ("--threads", 1, "--steps", 1)


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a text of eleven windows of 256 bytes."""
    file = tmp_path_factory.mktemp("text") / "text.txt"
    file.write_text("all that is gold does not glitter, " * 81)
    return file


@pytest.mark.parametrize("model", ["transformer", "vae"])
def test_tiny_model_of_a_text(cli: Cli, text: Path, tmp_path: Path, model: str) -> None:
    command = ["train", "--recipe", "tiny", "--model", model, "--data", f"text:{text}"]
    result = cli(*command, "-o", tmp_path / "run", *ONE_STEP)
    assert result.code == 0, result.err
    assert "bits/byte" in result.out
    assert "independent bytes" in result.out
    for word in ("pixels", "bits/dim", "neighbour table"):
        assert word not in result.out
    assert "bits/byte train" in result.err
    assert "bits/dim" not in result.err
    assert ("the value above is not read" in result.err) == (model == "transformer")


@pytest.mark.parametrize("model", ["pixelcnn", "vq"])
def test_convolutions_refuse_a_text(cli: Cli, text: Path, tmp_path: Path, model: str) -> None:
    command = ["train", "--recipe", "tiny", "--model", model, "--data", f"text:{text}"]
    refused(cli(*command, "-o", tmp_path / "run", *ONE_STEP), "[height, width]", "got (256,)")


def test_width_and_layers_of_a_recipe(cli: Cli, text: Path, tmp_path: Path) -> None:
    command = ["train", "--recipe", "text-small", "--data", f"text:{text}", *ONE_STEP]
    result = cli(*command, "-o", tmp_path / "run", "--width", 16, "--layers", 2)
    assert result.code == 0, result.err
    config = load_checkpoint(tmp_path / "run")[0].config
    assert isinstance(config, TransformerConfig)
    assert (config.width, config.layers, config.hidden, config.heads) == (16, 2, 44, 4)
    odd = cli(*command, "-o", tmp_path / "odd", "--width", 12)
    refused(odd, "--width 12, recipe text-small", "a multiple of 8", "4 attention heads")
    command = ["train", "--recipe", "tiny", "--model", "table", "-o", tmp_path / "odd"]
    refused(cli(*command, "--layers", 2), "--layers 2, recipe tiny-table", "leave it out")
    assert not (tmp_path / "odd").exists()


def test_estimated_time_and_quicker_recipe(
    cli: Cli, text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The estimate is right with a clock that advances half a minute at every reading."""
    ticking = partial(Pace, clock=count(0.0, 30.0).__next__)
    monkeypatch.setattr(stages, "Pace", ticking)
    small = ["--width", 16, "--layers", 1, "--threads", 1, "--data", f"text:{text}"]
    result = cli("train", "--recipe", "text", *small, "--steps", 8, "-o", tmp_path / "run")
    assert result.code == 0, result.err
    # Step 1 is not timed, step 2 takes 30 s, 6 are left.
    line = "text: about 3 minutes on this CPU; it is made for a GPU, use text-small on two cores"
    assert line in re.sub(r"\s+", " ", result.err)
    result = cli("train", "--recipe", "text-small", *small, "--steps", 8, "-o", tmp_path / "small")
    assert "text-small: about 3 minutes on this CPU\n" in result.err


def test_images_of_one_pixel_are_trained_but_not_exported(cli: Cli, tmp_path: Path) -> None:
    y = np.arange(40) % 2
    data = saved(tmp_path, x=(y + np.arange(40) % 2)[:, None, None], y=y)
    for model in ("transformer", "table"):
        out = tmp_path / model
        command = ["train", "--recipe", "tiny", "--model", model, "--data", f"npz:{data}"]
        result = cli(*command, "-o", out, *ONE_STEP)
        assert result.code == 0, result.err
        assert "independent pixels" in result.out
        assert "neighbour table" not in result.out
        refused(cli("export", out, "-o", tmp_path / "bundle"), "at least 3 values", "[1, 1]")


def test_certain_events_cost_zero_bits_without_a_sign(cli: Cli, tmp_path: Path) -> None:
    data = saved(tmp_path, x=np.zeros((40, 1, 3), np.int64))
    command = ["train", "--recipe", "tiny", "--model", "table", "--data", f"npz:{data}"]
    result = cli(*command, "-o", tmp_path / "run", *ONE_STEP)
    assert result.code == 0, result.err
    assert "0.0000 +- 0.0000" in result.out
    assert "-0.0" not in result.out + result.err


def noise() -> Dataset:
    """Return large images of noise, which cost thousands of nats."""
    spec = DataSpec(name="noise", event_shape=(28, 28), levels=17, num_classes=2)
    x = np.random.default_rng(0).integers(0, 17, (12, 784))
    return cut(spec, x, np.arange(12) % 2, fractional_split(12))


def at_80_columns(table: Table) -> list[str]:
    console = Console(width=80)
    with console.capture() as capture:
        console.print(table)
    return capture.get().splitlines()


def test_tables_fit_in_80_columns() -> None:
    """Each row of a table is one line of at most 80 columns, and no cell is cut off."""
    data = noise()
    plain = data.without_labels().spec
    vae, vq = (build_model(recipe("tiny", name).model, plain).eval() for name in ("vae", "vq"))
    assert isinstance(vq, VQVAE)
    assert isinstance(vq.config, VQVAEConfig)
    codes = encoded(vq, data)
    prior = build_model(recipe("tiny", "gru").model, codes.spec)
    model = build_model(recipe("tiny", "gru").model, data.spec)
    assert hasattr(model, "extend")
    assert hasattr(prior, "extend")
    for table in (
        evaluation_table(model, data),
        bound_table(vae, data, k=100),
        code_table(vq, prior, data, codes.test, codes.label_log_prior()),
    ):
        lines = at_80_columns(table)
        rule = next(i for i, line in enumerate(lines) if "──" in line)
        rows = [line for line in lines[rule + 1 :] if line.strip()]
        assert len(rows) == table.row_count
        assert not any("…" in line for line in lines)
        # At least one "bits +- error", and nats with their error at the end.
        assert all(len(re.findall(r"\d+\.\d{4} \+- \d+\.\d{4}", row)) >= 1 for row in rows)
        assert all(re.search(r"\d+\.\d{3} \+- (\d+\.\d{3}|inf)$", row.rstrip()) for row in rows)
