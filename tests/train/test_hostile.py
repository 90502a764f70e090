"""A configuration is compared with the header of its weights before the model is built.

All cases run in one child process, hostile.py, which prints the result of each. It may take 1 GiB
of memory more than its imports, and ten seconds of processor time for each case.
"""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.train.hostile import MODELS

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
LONGEST = 2000
"""Limit on the characters of a message."""
UNUSED = ("components", "prior_components", "blocks")
"""Sizes of parts that the models do not have: any number builds the same model."""
LOADED = {
    "llama max_position_embeddings",
    "transformer.window",
    "rotary.window",
    "rotary.windowed",
    "autoencoder_kl.scaling_factor",
    "autoencoder_kl.shift_factor",
    "bundle windowed",
    "engine windowed",
    "recast windowed",
    "diffusers whole",
    "vqvae data a large image",
}
"""Cases that may load: no size of the model follows from the value."""


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory, tiny_bundle: Path) -> list[dict[str, Any]]:
    """Return the result of each case; check that the child reached its end."""
    folder = tmp_path_factory.mktemp("hostile")
    copy = Path(shutil.copytree(tiny_bundle, folder / "bundle"))
    (folder / "checkpoints").mkdir()
    command = [sys.executable, "-m", "tests.train.hostile", folder / "checkpoints", copy]
    child = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    lines = [json.loads(line) for line in child.stdout.splitlines()]
    assert lines, child.stderr
    assert lines[-1] == {"done": True}, (lines[-1], child.returncode, child.stderr[-2000:])
    return [line for line in lines if "kind" in line]


def _may_load(name: str) -> bool:
    field = name.partition("=")[0]
    return field in LOADED or field.rpartition(".")[2] in UNUSED


@pytest.mark.parametrize("family", [*MODELS, "llama", "gpt2", "file:", "diffusers"])
def test_a_checkpoint_is_refused(results: list[dict[str, Any]], family: str) -> None:
    mine = [each for each in results if each["name"].startswith((f"{family}.", f"{family} "))]
    assert len(mine) > 10
    _check(mine, "CheckpointError")


def test_a_bundle_is_refused(results: list[dict[str, Any]]) -> None:
    mine = [each for each in results if each["name"].startswith(("bundle ", "engine ", "recast "))]
    assert len(mine) == 24
    _check(mine, "BundleError")


def _check(results: list[dict[str, Any]], kind: str) -> None:
    wrong = [
        each
        for each in results
        if each["kind"] != kind
        and not (each["kind"] == "loaded" and _may_load(each["name"]))
        # The size of a diffusers model's images is the user's.
        and (each["name"], each["kind"]) != ("diffusers size", "InvalidInput")
    ]
    assert wrong == []
    assert [each for each in results if each["length"] > LONGEST] == []


def test_messages(results: list[dict[str, Any]]) -> None:
    messages = {each["name"]: each["message"] for each in results}
    for name, words in {
        "transformer.layers=2147483647": "layers for the 34 tensors of the weights, got far",
        "transformer together": "tensors of the weights, got far more",
        "recurrent.width=1000000000": "numbers of the weights, got one of shape",
        "vqvae.blocks=2147483647": "tensors of the weights, got far more",
        "pixelcnn.kernel=2147483647": "fewer than 3 pixels, the width of a row",
        "table.cells=1000000000": "268435456 numbers available",
        "wavenet.dilations=[2147483647, 214.. of 36": "dilations: expected a number <= 1048576",
        "vae.latent=True": "latent: expected a valid integer, got True",
        "file: weights are a pipe": "expected a regular file, got a folder, a pipe or a device",
        "file: repeated numbers": "expected a state dict",
        "llama num_hidden_layers=10000": "10000 layers, but model.safetensors has only",
        "above data a large image": "numbers of the weights, got one of shape [16777216]",
        "left data a large image": "numbers of the weights, got one of shape [16777216, 1]",
        "engine layers": "tensors of the weights, got far more",
    }.items():
        assert words in messages[name], messages[name]
