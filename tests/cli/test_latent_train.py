"""`train` of models with latents: its stages, and what it prints."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from rich.console import Console

from ancestral.cli.held_out import drawn
from ancestral.cli.present.bound_table import DRAWS, bound_table, marginal
from ancestral.train import training as module
from ancestral.train.bounds import ENGINE, bound, encoded, log_likelihood
from ancestral.train.checkpoint import PRIOR, load_checkpoint
from ancestral.train.data import load_npz
from ancestral.train.models.latent_variable import LatentVariableModel
from ancestral.train.models.vae import VAE, VAEConfig
from ancestral.train.models.vqvae import VQVAE
from ancestral.train.progress import described
from ancestral.train.state import Evaluation

from .conftest import STEPS, Cli, Runs, numbers, refused, training

pytestmark = pytest.mark.slow


def latent(path: Path) -> LatentVariableModel:
    model, _ = load_checkpoint(path)
    assert isinstance(model, LatentVariableModel)
    return model


def test_table_of_a_vae(latent_runs: Runs, images: Path) -> None:
    run, result = latent_runs["vae"]
    assert result.code == 0, result.err
    test = load_npz(images).test
    found = bound(latent(run), test.x, DRAWS, streams=ENGINE)
    for row, nats in (
        ("ELBO, lower bound", found.elbo),
        (f"IWAE of {DRAWS} draws, lower bound", found.iwae),
        ("reconstruction, E log p(x|z)", found.reconstruction),
        ("-KL(q(z|x) || p(z))", -found.kl),
    ):
        bits, _, mean, error = numbers(result.out, row)
        assert mean == pytest.approx(nats.mean(), abs=1e-3), row
        assert error == pytest.approx(nats.std(ddof=1) / len(nats) ** 0.5, abs=1e-3), row
        assert bits == pytest.approx(-nats.mean() / (16 * np.log(2)), abs=1e-4), row
    assert result.out.count("<=") == 3, "expected two bounds and the legend"
    for word in ("independent pixels, log p(x)", "neighbour table, log p(x)"):
        assert word in result.out


def test_table_of_a_vqvae(latent_runs: Runs, images: Path) -> None:
    """log p(z) in the table is that of the prior, summed over its classes."""
    run, result = latent_runs["vq"]
    assert result.code == 0, result.err
    model, events = latent(run), load_npz(images)
    prior, saved = load_checkpoint(run / PRIOR)
    assert prior.data.num_classes == 2
    assert saved.config.summary is not None
    assert (saved.config.summary.recipe, saved.config.summary.steps) == ("tiny-vq-prior", STEPS)
    assert isinstance(model, VQVAE)
    codes = encoded(model, events)
    nats = log_likelihood(model, events.test.x)
    log_p, x = codes.label_log_prior(), torch.from_numpy(codes.test.x)
    assert log_p is not None
    with torch.no_grad():
        joint = [prior.log_prob(x, torch.full((len(x),), y)).numpy() + log_p[y] for y in (0, 1)]
    log_prior = np.logaddexp(*joint)
    np.testing.assert_allclose(marginal(prior, codes.test, log_p), log_prior, atol=1e-5)
    row = "log p(x|z) p(z), lower bound"
    assert numbers(result.out, row)[2] == pytest.approx((nats + log_prior).mean(), abs=1e-3)
    assert "prior, log p(z) of 4 codes" in result.out
    assert result.out.count("<=") == 2


def test_progress_and_curves_show_both_terms(latent_runs: Runs) -> None:
    run, result = latent_runs["vae"]
    looks = json.loads((run / "history.json").read_bytes())
    assert f"log p(x|z) {looks[-1]['reconstruction']:.1f}, KL" in result.err
    with (
        Image.open(run / "curves.png") as latents,
        Image.open(latent_runs["vq"][0] / PRIOR / "curves.png") as plain,
    ):
        assert latents.size[0] == plain.size[0]
        assert latents.size[1] > plain.size[1]
    look = Evaluation(1, 1.0, 2.0, 2.5)
    assert described(look) == "bits/dim train 2.000 validation 2.500"
    codes = described(Evaluation(1, 1.0, 2.0, 2.5, reconstruction=-3.0, active=7))
    assert "KL" not in codes
    assert "7 active" in codes


class StopAt:
    """Interrupts before the given step, counted from 1 over both stages."""

    def __init__(self, step: int, patch: pytest.MonkeyPatch) -> None:
        self.left, self.real = step, module._step
        patch.setattr(module, "_step", self.step)

    def step(self, *arguments: Any) -> None:
        self.left -= 1
        if self.left == 0:
            raise KeyboardInterrupt
        self.real(*arguments)


def test_a_finished_run_resumes_to_its_end(cli: Cli, latent_runs: Runs, images: Path) -> None:
    run, first = latent_runs["vq"]
    files = [run / "weights.safetensors", run / PRIOR / "weights.safetensors"]
    before = [file.read_bytes() for file in files]
    again = cli(*training(images, "vq", run))
    refused(again, "config.json and state.pt and prior/config.json", "--resume")
    with pytest.MonkeyPatch.context() as patch:
        StopAt(1, patch)
        again = cli(*training(images, "vq", run), "--resume")
    assert again.code == 0, "a step was taken again"
    assert f"{STEPS}/{STEPS}" in again.err
    assert [file.read_bytes() for file in files] == before
    assert again.out == first.out


def test_both_stages_are_resumed(cli: Cli, latent_runs: Runs, images: Path, tmp_path: Path) -> None:
    """A run interrupted in its first stage, then in its second, ends as an unbroken run does."""
    out, command = tmp_path / "run", training(images, "vq", tmp_path / "run")
    for stop, words in ((2, "no state was saved"), (STEPS + 2, "continue with --resume")):
        with pytest.MonkeyPatch.context() as patch:
            StopAt(stop, patch)
            result = cli(*command, "--resume")
        assert result.code == 130
        assert words in result.err
    assert (out / "config.json").exists()
    assert not (out / PRIOR / "config.json").exists()
    refused(cli("export", out, "-o", tmp_path / "bundle"), "prior over codes", "--resume")
    assert cli(*command, "--resume").code == 0
    for name in ("weights.safetensors", f"{PRIOR}/weights.safetensors"):
        assert (out / name).read_bytes() == (latent_runs["vq"][0] / name).read_bytes()


def test_a_replaced_model_loses_its_prior(cli: Cli, images: Path, tmp_path: Path) -> None:
    """Otherwise an interrupted run would leave a new model with the prior of the old codes."""
    out, command = tmp_path / "run", training(images, "vq", tmp_path / "run", steps=1)
    assert cli(*command).code == 0
    assert cli(*command, "--overwrite", "--device", "cuda").code == 2
    assert (out / PRIOR / "config.json").exists()
    with pytest.MonkeyPatch.context() as patch:
        StopAt(2, patch)
        assert cli(*command, "--overwrite", "--seed", 1).code == 130
    assert not (out / PRIOR / "config.json").exists()
    assert cli(*command, "--seed", 1, "--resume").code == 0
    assert (out / PRIOR / "config.json").exists()


def test_binary_data(cli: Cli, images: Path, tmp_path: Path) -> None:
    for model, likelihood in (("vae", "bernoulli"), ("table", None)):
        result = cli(*training(images, model, tmp_path / model, steps=1), "--binarise")
        assert result.code == 0, result.err
        assert "dynamically binarised" in result.out
        trained, _ = load_checkpoint(tmp_path / model)
        assert trained.data.levels == 2
        assert getattr(trained.config, "likelihood", None) == likelihood
    (tmp_path / "text.txt").write_bytes(b"abc " * 999)
    options = ["--recipe", "text", "--model", "table", "--binarise"]
    result = cli("train", *options, "--data", f"text:{tmp_path / 'text.txt'}", "-o", tmp_path / "t")
    refused(result, "--binarise", "got text")


@pytest.mark.parametrize("model", ["vae", "vq"])
@pytest.mark.parametrize(
    ("options", "word"),
    [
        (["--ordering", "column"], "--ordering: expected raster, because tiny-"),
        (["--label-dropout", "0.1"], "--label-dropout: tiny-"),
        (["--steps", "0"], "steps"),
    ],
)
def test_train_refuses(
    cli: Cli, images: Path, tmp_path: Path, model: str, options: list[str], word: str
) -> None:
    refused(cli(*training(images, model, tmp_path / "run"), *options), word)
    assert not (tmp_path / "run").exists()


def test_table_of_a_density_has_no_exact_rows(images: Path) -> None:
    """A density's bound is of x + u, so exact values of x do not belong in its table."""
    events = load_npz(images)
    config = VAEConfig(widths=(4,), latent=2, likelihood="gaussian")
    model = VAE(config, events.without_labels().spec)
    console = Console(width=200)
    with console.capture() as capture:
        console.print(bound_table(model, events, k=2))
    text = " ".join(capture.get().split())
    for word in ("bounds on the density of x + u", "do not compare them with exact bits/dim"):
        assert word in text
    assert "table" not in text
    assert "pixels" not in text


def test_table_of_codes_is_bounded_in_time(
    cli: Cli, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With fewer events, log p(x | z) and log p(z) are of the same ones."""
    monkeypatch.setattr(
        "ancestral.cli.stages.affordable_events",
        lambda model, codes: replace(codes, test=drawn(codes.test, 2)),
    )
    result = cli(*training(images, "vq", tmp_path / "run", steps=1))
    assert result.code == 0, result.err
    assert result.out.startswith("2 test events")
