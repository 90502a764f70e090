"""The files that cases change: sound bundles, checkpoints, runs and data, in one folder."""

import contextlib
import gzip
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import safetensors.torch
import torch

from ancestral.cli.main import run
from ancestral.train.data.npz import load_npz
from ancestral.train.hugging_face.known import read_config
from ancestral.train.recipes import TINY
from ancestral.train.state import Evaluation
from ancestral.train.training import train

BUNDLES = ("tiny", "text", "codes", "bernoulli")
"""Toys of images with labels, text with a tokenizer, a VQ-VAE with its prior, and a VAE."""
TRAINING = ("train", "--recipe", "tiny", "--steps", "12", "--threads", "1", "--no-evaluate")
"""Words of a command that trains for twelve steps."""


def make_sources(folder: Path, bundle: Callable[..., Path]) -> None:
    """Write everything that a case may change.

    Args:
        folder: folder to fill.
        bundle: returns the path of a toy's bundle, quantised in a way of `WAYS` if one is given.
    """
    shutil.copytree(bundle("llama", "int4"), folder / "quantised")
    for name in BUNDLES:
        shutil.copytree(bundle(name), folder / name)
    random = np.random.default_rng(0)
    x, y = random.integers(0, 3, (40, 3, 3)), random.integers(0, 2, 40)
    np.savez(folder / "events.npz", x=x[:3], y=y[:3])
    np.savez_compressed(folder / "small.npz", x=x[:3].astype(np.uint8), y=y[:3].astype(np.uint8))
    np.savez(folder / "data.npz", x=x, y=y)
    np.save(folder / "events.npy", x[:3])
    np.savez(folder / "codes.npz", x=random.integers(0, 3, (3, 4, 4)))
    np.savez(folder / "binary.npz", x=x[:3].clip(0, 1))
    (folder / "text.txt").write_text("the cat sat on the mat, naïve café 😀\n" * 20)
    _write_idx(folder / "idx")
    _write_mistral(folder / "mistral")
    _train(folder)


def _write_idx(folder: Path) -> None:
    folder.mkdir()
    random = np.random.default_rng(1)
    for part, n in (("train", 12), ("t10k", 4)):
        images = bytes([0, 0, 8, 3]) + np.array([n, 3, 3], ">u4").tobytes()
        images += random.integers(0, 256, 9 * n).astype(np.uint8).tobytes()
        labels = (
            bytes([0, 0, 8, 1]) + np.array([n], ">u4").tobytes() + bytes(i % 2 for i in range(n))
        )
        (folder / f"{part}-images-idx3-ubyte.gz").write_bytes(gzip.compress(images))
        (folder / f"{part}-labels-idx1-ubyte").write_bytes(labels)


def _write_mistral(folder: Path) -> None:
    """Write a Hugging Face transformers folder with one layer."""
    folder.mkdir()
    values = {
        "architectures": ["MistralForCausalLM"],
        "bos_token_id": 1,
        "eos_token_id": 2,
        "head_dim": 4,
        "hidden_act": "silu",
        "hidden_size": 8,
        "intermediate_size": 12,
        "max_position_embeddings": 64,
        "model_type": "mistral",
        "num_attention_heads": 2,
        "num_hidden_layers": 1,
        "num_key_value_heads": 1,
        "rms_norm_eps": 1e-6,
        "rope_theta": 10000.0,
        "sliding_window": 3,
        "tie_word_embeddings": False,
        "torch_dtype": "float32",
        "use_cache": True,
        "vocab_size": 11,
    }
    (folder / "config.json").write_text(json.dumps(values))
    architecture, network = read_config(folder, values)
    entries = architecture.entries(network, 8, "model.", "lm_head.weight")
    weights = {name: torch.ones(shape) for entry in entries for name, shape in entry.stored.items()}
    safetensors.torch.save_file(weights, folder / "model.safetensors")


def _train(folder: Path) -> None:
    """Write a finished run of twelve steps, and one that was interrupted at step 11."""
    data = folder / "data.npz"
    assert run([*TRAINING, "--data", f"npz:{data}", "-o", str(folder / "run")]) == 0
    recipe = replace(TINY, training=replace(TINY.training, steps=12))
    with contextlib.suppress(KeyboardInterrupt):
        train(recipe, load_npz(data), folder / "half", progress=_interrupt)


def _interrupt(step: int, evaluation: Evaluation | None) -> None:
    if step == 11:
        raise KeyboardInterrupt
