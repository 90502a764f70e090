"""Folders of the oracle that a test may change, and the errors of reading them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import Tensor

from ancestral.errors import CheckpointError
from ancestral.train.hugging_face import load_hugging_face
from ancestral.train.models.transformer import Transformer
from tests.train.hugging_face.conftest import Pair

Pairs = Callable[[str], Pair]
Weights = dict[str, Tensor]
SINGLE, INDEX, BIN = "model.safetensors", "model.safetensors.index.json", "pytorch_model.bin"


def emptied(case: Pair, path: Path) -> tuple[Path, Weights]:
    path.joinpath("config.json").write_bytes((case.folder / "config.json").read_bytes())
    return path, safetensors.torch.load_file(case.folder / SINGLE)


def configure(folder: Path, **changes: Any) -> None:
    values = json.loads((folder / "config.json").read_text()) | changes
    (folder / "config.json").write_text(json.dumps(values))


def save(weights: Weights, path: Path) -> None:
    safetensors.torch.save_file(weights, path, metadata={"format": "pt"})


def split(folder: Path, weights: Weights, ending: str = "safetensors") -> list[Path]:
    """Write the weights in three parts, with their index."""
    stem = "model" if ending == "safetensors" else "pytorch_model"
    names = [f"{stem}-{i + 1:05}-of-00003.{ending}" for i in range(3)]
    places = {name: names[i % 3] for i, name in enumerate(weights)}
    for part in names:
        held = {name: weights[name] for name, place in places.items() if place == part}
        save(held, folder / part) if ending == "safetensors" else torch.save(held, folder / part)
    index = {"metadata": {"total_size": 1}, "weight_map": places}
    (folder / f"{stem}.{ending}.index.json").write_text(json.dumps(index))
    return [folder / name for name in names]


def refusal(folder: Path) -> str:
    with pytest.raises(CheckpointError) as refused:
        load_hugging_face(folder)
    return str(refused.value)


def assert_same(model: Transformer, other: Transformer) -> None:
    got, expected = model.state_dict(), other.state_dict()
    assert got.keys() == expected.keys()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in got.items())
