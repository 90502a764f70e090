"""`export` of models with latents: a prior is exported too, and diffusers folders are read."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch

from ancestral.dataspec import DataSpec
from ancestral.train.checkpoint import PRIOR, load_checkpoint, save_checkpoint
from ancestral.train.models.autoencoder_kl import AutoencoderKL
from ancestral.train.models.autoencoder_kl_config import AutoencoderKLConfig
from tests.latent_toys import make_latent, make_prior

from .conftest import Bundles, Cli, refused

Calls = list[dict[str, Any]]
SHAPE = {"block_out_channels": (4, 8), "latent_channels": 2, "norm_num_groups": 2}

BLOCKS = {"down": "DownEncoder", "up": "UpDecoder"}


@pytest.fixture
def exports(bundles: Bundles, monkeypatch: pytest.MonkeyPatch) -> Calls:
    """Replace the export itself, which has its own tests, by a copy of a toy's bundle."""
    calls: Calls = []
    toy = bundles("bernoulli")

    def copy(model: Any, out: Path, *, progress: Any, **options: Any) -> Path:
        calls.append({"model": model, **options})
        return Path(shutil.copytree(toy, out))

    monkeypatch.setattr("ancestral.export.bundle.export_bundle", copy)
    return calls


@pytest.fixture
def vae(tmp_path: Path) -> Path:
    save_checkpoint(tmp_path / "vae", make_latent("bernoulli"))
    return tmp_path / "vae"


@pytest.fixture
def vq(tmp_path: Path) -> Path:
    save_checkpoint(tmp_path / "vq", make_latent("codes"))
    return tmp_path / "vq"


@pytest.fixture
def diffusers(tmp_path: Path) -> Path:
    """Write a diffusers folder with a very small model."""
    folder = tmp_path / "kl"
    folder.mkdir()
    blocks = {f"{way}_block_types": [f"{word}Block2D"] * 2 for way, word in BLOCKS.items()}
    fields = {"_class_name": "AutoencoderKL", **SHAPE, **blocks}
    (folder / "config.json").write_text(json.dumps(fields))
    torch.manual_seed(0)
    data = DataSpec(name="images", event_shape=(3, 8, 8), levels=256)
    model = AutoencoderKL(AutoencoderKLConfig(**SHAPE), data)
    weights = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    safetensors.torch.save_file(weights, folder / "diffusion_pytorch_model.safetensors")
    return folder


def test_a_vae_has_no_other_prior(cli: Cli, vae: Path, tmp_path: Path, exports: Calls) -> None:
    result = cli("export", vae, "-o", tmp_path / "bundle", "--threads", 1)
    assert result.code == 0, result.err
    assert "max |delta log w|" in result.out
    (call,) = exports
    assert call["label_prior"] is None
    assert call.get("prior") is None


def test_prior_is_exported_with_its_labels(
    cli: Cli, vq: Path, tmp_path: Path, exports: Calls
) -> None:
    command = ["export", vq, "-o", tmp_path / "bundle", "--no-verify"]
    refused(cli(*command), "prior over codes", "--resume")
    save_checkpoint(vq / PRIOR, make_latent("codes"))
    refused(cli(*command), "expected an autoregressive model of the codes, got VQVAE")
    prior = make_prior("codes")
    assert prior is not None
    save_checkpoint(vq / PRIOR, prior, log_prior=(float(np.log(0.3)), float(np.log(0.7))))
    assert cli(*command).code == 0
    (call,) = exports
    np.testing.assert_allclose(call["label_prior"], [0.3, 0.7])
    assert call["prior"].data.num_classes == 2
    assert call["model"].data == load_checkpoint(vq)[0].data


def test_a_diffusers_folder(cli: Cli, diffusers: Path, tmp_path: Path, exports: Calls) -> None:
    command = ["export", diffusers, "--no-verify"]
    assert cli(*command, "--size", "16", "-o", tmp_path / "a").code == 0
    options = ["--size", "8x16", "--pixel-scale", 0.2]
    assert cli(*command, *options, "-o", tmp_path / "b").code == 0
    square, wide = (call["model"] for call in exports)
    assert (square.data.event_shape, wide.data.event_shape) == ((3, 16, 16), (3, 8, 16))
    assert (square.config.pixel_scale, wide.config.pixel_scale) == (1.0, 0.2)
    assert all(call.get("label_prior") is None for call in exports)


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ([], "--size: required for"),
        (["--size", "big"], "--size: expected a side like 64, or 48x64, got 'big'"),
        (["--size", "8x"], "got '8x'"),
        (["--size", "8x8x8"], "got '8x8x8'"),
        (["--size", "0"], "size"),
        (["--size", "7"], "7"),
        (["--size", "8", "--pixel-scale", "0"], "pixel_scale"),
        (["--size", "8", "--length", "4"], "got a AutoencoderKL"),
    ],
)
def test_sizes(
    cli: Cli, diffusers: Path, tmp_path: Path, exports: Calls, options: list[str], word: str
) -> None:
    refused(cli("export", diffusers, "-o", tmp_path / "bundle", *options), word)
    assert exports == []


@pytest.mark.parametrize("options", [["--size", "8"], ["--pixel-scale", "1"], ["--length", "4"]])
def test_options_that_a_checkpoint_does_not_take(
    cli: Cli, vae: Path, tmp_path: Path, exports: Calls, options: list[str]
) -> None:
    refused(cli("export", vae, "-o", tmp_path / "bundle", *options), options[0])
    assert exports == []


def test_no_causality_without_an_order(cli: Cli, vae: Path) -> None:
    refused(cli("check-causality", vae), "expected an autoregressive model, got a VAE", "prior")
