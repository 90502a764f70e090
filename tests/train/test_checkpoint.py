"""A checkpoint is loaded as it was saved, or refused with a reason."""

import errno
import hashlib
import json
import os
import re
from pathlib import Path

import numpy as np
import pytest
import torch

from ancestral.dataspec import DataSpec
from ancestral.errors import CheckpointError
from ancestral.train import checkpoint
from ancestral.train.checkpoint import load_checkpoint, save_checkpoint
from ancestral.train.checkpoint_config import Summary
from ancestral.train.data.dataset import Split
from ancestral.train.models.transformer import Transformer
from ancestral.train.models.transformer_config import TransformerConfig

SPEC = DataSpec(name="toy", event_shape=(2, 3), levels=5, num_classes=4)
SPLIT = Split(np.array([3, 1]), np.array([0]), np.array([2]))
SUMMARY = Summary(
    recipe="toy", seed=1, steps=2, best_step=2, validation_bits=1.5, train_bits=2.0, seconds=0.1
)
FILES = ("weights.safetensors", "split.safetensors", "config.json")


def toy(seed: int = 0, **changes: object) -> Transformer:
    torch.manual_seed(seed)
    config = {"width": 8, "layers": 2, "heads": 2, "above": True, "dropout": 0.3} | changes
    return Transformer(TransformerConfig(**config), SPEC)


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    path = tmp_path / "run"
    save_checkpoint(
        path,
        toy(),
        split=SPLIT,
        training={"steps": 2},
        summary=SUMMARY,
        log_prior=(-1.5, -1.25, -1.5, -1.25),
    )
    return path


@pytest.mark.parametrize(
    "changes",
    [{}, {"positions": "rotary", "norm": "rms", "bias": False, "tied": True, "start": None}],
    ids=["gpt", "llama"],
)
def test_round_trip(tmp_path: Path, changes: dict[str, object]) -> None:
    model = toy(**changes)
    save_checkpoint(tmp_path, model, split=SPLIT, training={"steps": 2}, summary=SUMMARY)
    loaded, checkpoint = load_checkpoint(tmp_path)
    assert loaded.config == model.config
    assert loaded.data == SPEC
    assert not loaded.training
    expected = model.state_dict()
    assert loaded.state_dict().keys() == expected.keys()
    assert all(torch.equal(w, expected[name]) for name, w in loaded.state_dict().items())
    assert checkpoint.config.summary == SUMMARY
    assert checkpoint.config.training == {"steps": 2}
    assert checkpoint.split is not None
    for part in ("train", "validation", "test"):
        assert np.array_equal(getattr(checkpoint.split, part), getattr(SPLIT, part))
    x, y = torch.randint(5, (3, 6)), torch.tensor([0, 1, 3])
    torch.testing.assert_close(loaded.log_prob(x, y), model.eval().log_prob(x, y))
    loaded.train().log_prob(x, y).sum().backward()
    assert all(p.grad is not None for p in loaded.parameters())


def test_loading_leaves_the_random_state_alone(saved: Path) -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    load_checkpoint(saved)
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("name", FILES)
def test_any_altered_byte_is_refused(saved: Path, name: str) -> None:
    path = saved / name
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    for place in [*rng.integers(0, len(whole), 40), 0, len(whole) - 1]:
        changed = bytearray(whole)
        changed[place] ^= 1 << int(rng.integers(8))
        path.write_bytes(bytes(changed))
        if name == "config.json" and whole[place : place + 1].isspace():
            continue
        with pytest.raises(CheckpointError, match=re.escape(str(saved))):
            load_checkpoint(saved)
    path.write_bytes(whole)
    load_checkpoint(saved)


@pytest.mark.parametrize("name", FILES)
def test_truncated_and_missing_files_are_refused(saved: Path, name: str) -> None:
    path = saved / name
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(CheckpointError, match=name):
        load_checkpoint(saved)
    path.unlink()
    with pytest.raises(CheckpointError, match="no such file"):
        load_checkpoint(saved)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (
            {"architectures": ["GPT2LMHeadModel"]},
            "format: expected 'ancestral checkpoint', got None",
        ),
        (["a", "list"], "expected a JSON object, got list"),
        ({"format": "ancestral checkpoint", "version": 2}, "version: expected 1, got 2"),
    ],
    ids=["foreign", "list", "future"],
)
def test_foreign_and_future_configs_are_refused(saved: Path, body: object, message: str) -> None:
    (saved / "config.json").write_text(json.dumps(body))
    with pytest.raises(CheckpointError, match=message):
        load_checkpoint(saved)


def _resign(folder: Path, **changes: object) -> None:
    """Change config.json, and make its hash fit."""
    body = json.loads((folder / "config.json").read_text()) | changes
    body.pop("sha256")
    digest = hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
    (folder / "config.json").write_text(json.dumps(body | {"sha256": digest}))


def test_config_of_another_model_is_refused(saved: Path) -> None:
    body = json.loads((saved / "config.json").read_text())
    for changes in (
        {"model": body["model"] | {"width": 16}},
        {"model": body["model"] | {"layers": 3}},
        {"model": body["model"] | {"layers": 1}},
        {"model": body["model"] | {"layers": 0}},
        {"model": body["model"] | {"colour": "red"}},
        {"files": {"../weights.safetensors": "0"}},
        {"files": {}},
        {"data": body["data"] | {"levels": 0}},
        {"surplus": 1},
    ):
        _resign(saved, **changes)
        with pytest.raises(CheckpointError):
            load_checkpoint(saved)
        _resign(saved, **{name: body[name] for name in changes if name in body})
        if "surplus" not in changes:
            load_checkpoint(saved)


def test_weights_of_another_checkpoint_are_refused(saved: Path, tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "other", toy(seed=1), split=SPLIT)
    (saved / FILES[0]).write_bytes((tmp_path / "other" / FILES[0]).read_bytes())
    with pytest.raises(CheckpointError, match="expected SHA-256"):
        load_checkpoint(saved)


@pytest.mark.parametrize("after", [0, 1, 2])
def test_old_checkpoint_stays_whole_when_the_disk_fills(
    saved: Path, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    before = {name: (saved / name).read_bytes() for name in FILES}
    real, calls = os.fsync, []

    def fsync(handle: int) -> None:
        calls.append(handle)
        if len(calls) > after:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(handle)

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(OSError, match="No space left"):
        save_checkpoint(saved, toy(seed=1), split=SPLIT, summary=SUMMARY)
    assert len(calls) == after + 1
    assert sorted(os.listdir(saved)) == sorted(FILES)
    assert {name: (saved / name).read_bytes() for name in FILES} == before
    load_checkpoint(saved)


def test_a_checkpoint_that_is_replaced_while_it_is_read(
    saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A checkpoint that another process replaces is loaded as the old one or as the new one."""
    read = checkpoint.read_config

    def read_then_replace(folder: Path) -> checkpoint.CheckpointConfig:
        monkeypatch.setattr(checkpoint, "read_config", read)
        config = read(folder)
        save_checkpoint(folder, toy(seed=5), split=SPLIT)
        return config

    monkeypatch.setattr(checkpoint, "read_config", read_then_replace)
    model, found = load_checkpoint(saved)
    assert found.config.summary is None
    expected = toy(seed=5).state_dict()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in model.state_dict().items())
