"""Reading a checkpoint takes the memory of the model and of about one tensor more."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import safetensors.torch
import torch

from ancestral.train.hugging_face.known import read_config

# 26 million parameters: the embedding is the largest tensor, a fifth of all.
VALUES = {
    "model_type": "gpt_neox",
    "vocab_size": 10_000,
    "hidden_size": 512,
    "num_hidden_layers": 5,
    "num_attention_heads": 8,
    "intermediate_size": 2048,
    "max_position_embeddings": 64,
}
READ = """
import resource, sys
from ancestral.train.hugging_face import load_hugging_face
import torch
torch.ones(64, 64) @ torch.ones(64, 64)
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
before = peak()
model = load_hugging_face(sys.argv[1]).model
size = sum(each.numel() * 4 for each in model.parameters())
largest = max(each.numel() * 4 for each in model.parameters())
print(peak() - before, size, largest)
"""
SLACK = 24 * 2**20
"""Bytes for buffers, for the allocator and for late imports."""


@pytest.mark.slow
@pytest.mark.parametrize(
    "way",
    ["safetensors", "bin", "old bin"],
)
def test_reading_takes_the_model_and_one_tensor(tmp_path: Path, way: str) -> None:
    path = tmp_path / "config.json"
    path.write_text(json.dumps(VALUES))
    architecture, network = read_config(path, VALUES)
    entries = architecture.entries(network, 64, "gpt_neox.", "embed_out.weight")
    weights = {name: torch.ones(shape) for entry in entries for name, shape in entry.stored.items()}
    match way:
        case "safetensors":
            safetensors.torch.save_file(weights, tmp_path / "model.safetensors")
        case "bin":
            torch.save(weights, tmp_path / "pytorch_model.bin")
        case "old bin":
            path = tmp_path / "pytorch_model.bin"
            torch.save(weights, path, _use_new_zipfile_serialization=False)
    del weights
    made = subprocess.run(
        [sys.executable, "-c", READ, str(tmp_path)], capture_output=True, text=True, check=True
    )
    peak, size, largest = map(int, made.stdout.split())
    assert size > 100e6
    assert peak < size + largest + SLACK, f"{peak / 2**20:.0f} MiB for {size / 2**20:.0f} MiB"
