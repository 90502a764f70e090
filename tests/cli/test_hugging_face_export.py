"""`export` of a Hugging Face folder: what it prints, and how options reach the library."""

import json
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from ancestral.train.hugging_face.known import read_config
from tests.cli.conftest import Cli, refused

VALUES: dict[str, Any] = {
    "model_type": "mistral",
    "vocab_size": 11,
    "hidden_size": 8,
    "intermediate_size": 12,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "max_position_embeddings": 5000,
    "sliding_window": 3,
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Write a checkpoint of 1 layer."""
    path = tmp_path / "checkpoint"
    path.mkdir()
    (path / "config.json").write_text(json.dumps(VALUES))
    architecture, network = read_config(path, VALUES)
    entries = architecture.entries(network, 8, "model.", "lm_head.weight")
    weights = {name: torch.ones(shape) for entry in entries for name, shape in entry.stored.items()}
    safetensors.torch.save_file(weights, path / "model.safetensors")
    (path / "vocab.txt").write_text("\n".join(f"w{i}" for i in range(11)))
    return path


@pytest.fixture
def exports(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Replace the export itself, which has its own tests; return the recorded calls."""
    calls: list[dict[str, Any]] = []

    def keep(model: Any, out: Path, **options: Any) -> None:
        calls.append({"model": model, **options})

    monkeypatch.setattr("ancestral.export.bundle.export_bundle", keep)
    return calls


def test_printed_lines(cli: Cli, folder: Path, tmp_path: Path, exports: list[Any]) -> None:
    result = cli("export", folder, "-o", tmp_path / "b", "--no-verify")
    assert result.code == 0, result.err
    assert result.out == ""
    lines = result.err.splitlines()
    assert lines[:2] == [
        "mistral: 680 parameters, 11 levels, context 5000; events of 4096 (--length changes this)",
        "start: token 1; tokenizer: vocab.txt",
    ]
    (call,) = exports
    assert call["own"] is True
    assert call["files"] == {"vocab.txt": (folder / "vocab.txt").read_bytes()}
    assert call["model"].data.length == 4096


def test_options(cli: Cli, folder: Path, tmp_path: Path, exports: list[Any]) -> None:
    command = ["export", folder, "-o", tmp_path / "b", "--no-verify"]
    result = cli(*command, "--length", 8, "--start", "none")
    assert "start: none: the first value must be observed, and log p(x_2.. | x_1)" in result.err
    assert cli(*command, "--length", 5000, "--start", "7").code == 0
    first, second = (call["model"] for call in exports)
    assert (first.data.length, first.config.start) == (8, None)
    assert (second.data.length, second.config.start) == (5000, 7)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--start", "11"], "start: expected a token id in 0 .. 10, or none, got 11"),
        (["--start", "first"], "--start: expected a token id or none, got 'first'"),
        (["--start", "-1"], "--start: expected a token id"),
        (["--length", "5001"], "length: expected 1 .. 5000, the model's context"),
        (["--size", "8"], "--size: only for a diffusers folder"),
        (["--pixel-scale", "1"], "--pixel-scale: only for a diffusers folder"),
    ],
)
def test_refused(
    cli: Cli, folder: Path, tmp_path: Path, exports: list[Any], options: list[str], words: str
) -> None:
    refused(cli("export", folder, "-o", tmp_path / "b", *options), words)
    assert exports == []


def test_folder_that_is_not_a_checkpoint(cli: Cli, tmp_path: Path) -> None:
    words = (
        "expected a folder with a config.json; pass a folder that `ancestral train` wrote",
        "transformers",
    )
    refused(cli("export", tmp_path, "-o", tmp_path / "b"), *words)
    refused(cli("export", tmp_path / "none", "-o", tmp_path / "b"), *words)


def test_unknown_model_type(cli: Cli, folder: Path, tmp_path: Path) -> None:
    (folder / "config.json").write_text(json.dumps(VALUES | {"model_type": "gemma2"}))
    refused(cli("export", folder, "-o", tmp_path / "b"), "model_type 'gemma2'", "gpt2, imagegpt,")


def test_ignored_fields_and_notes(
    cli: Cli, folder: Path, tmp_path: Path, exports: list[Any]
) -> None:
    (folder / "config.json").write_text(json.dumps(VALUES | {"my_note": 1, "stage": 2}))
    command = ["export", folder, "-o", tmp_path / "b", "--no-verify"]
    refused(cli(*command), "pass --ignore-field my_note --ignore-field stage if they do not")
    ignored = ["--ignore-field", "my_note", "--ignore-field", "stage", "--ignore-field", "stage"]
    result = cli(*command, *ignored)
    assert result.code == 0, result.err
    (call,) = exports
    assert call["ignored_fields"] == ("my_note", "stage")
    refused(cli(*command, "--ignore-field", "hidden_size"), "the field is read, checked or known")
    (folder / "config.json").write_text(json.dumps(VALUES | {"bos_token_id": 50256}))
    result = cli(*command)
    assert "no start token: bos_token_id 50256 is beyond the vocabulary of 11" in result.err


def test_an_adapter_and_files_of_other_kinds(cli: Cli, folder: Path, tmp_path: Path) -> None:
    (folder / "adapter_config.json").write_text("{}")
    refused(cli("export", folder, "-o", tmp_path / "b"), "merge_and_unload")
    file = tmp_path / "model.gguf"
    file.write_bytes(b"GGUF")
    refused(cli("export", file, "-o", tmp_path / "b"), "model.gguf, a GGUF file of llama.cpp")
