"""A file that cannot be read is named, with its kind and a way to convert it."""

import json
from pathlib import Path
from typing import Any

import pytest

from ancestral.errors import CheckpointError
from ancestral.train.hugging_face import foreign, load_hugging_face
from tests.train.hostile_folders import GPT2, SINGLE, write
from tests.train.hugging_face.folders import refusal


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Write a checkpoint of GPT-2."""
    write(tmp_path / "model", GPT2)
    load_hugging_face(tmp_path / "model")
    return tmp_path / "model"


@pytest.mark.parametrize("base", ["org/base", None, ["x" * 2**12]])
def test_an_adapter_next_to_base_weights(folder: Path, base: Any) -> None:
    (folder / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": base}))
    message = refusal(folder)
    assert "got base weights and an adapter (adapter_config.json" in message
    assert ("made for 'org/base'" in message) == (base == "org/base")
    assert ".merge_and_unload().save_pretrained(OUT)" in message
    assert "or move adapter_config.json away" in message
    assert len(message) < 1000


@pytest.mark.parametrize("names", [("adapter_config.json",), ("adapter_model.safetensors",)])
def test_an_adapter_only(tmp_path: Path, names: tuple[str, ...]) -> None:
    for name in names:
        (tmp_path / name).write_text("")
    message = refusal(tmp_path)
    assert "got only an adapter" in message
    assert "merge_and_unload" in message
    assert "move" not in message


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["model-Q4_K_M.gguf"], ("GGUF file of llama.cpp", "gguf_file='model-Q4_K_M.gguf'")),
        (["tf_model.h5"], ("TensorFlow file in HDF5", "from_tf=True")),
        (["flax_model.msgpack"], ("a Flax file", "from_flax=True")),
        (["consolidated.00.pth", "params.json"], ("Meta", "convert_llama_weights_to_hf")),
        (["consolidated.safetensors", "params.json"], ("Meta or Mistral",)),
        (["model.pth"], ("a PyTorch pickle", "export_bundle (docs/own-model.md)")),
        (["model.onnx"], ("an ONNX graph",)),
    ],
)
def test_files_of_other_kinds(tmp_path: Path, names: list[str], words: tuple[str, ...]) -> None:
    """Files are named in a folder with config.json and without, and if they are the path."""
    for name in names:
        (tmp_path / name).write_bytes(b"")
    message = foreign(tmp_path)
    assert message is not None
    (tmp_path / "config.json").write_text(json.dumps(GPT2))
    for word in words:
        assert word in message
        assert word in refusal(tmp_path)
    if len(names) == 1:
        assert foreign(tmp_path / names[0]) == message


def test_nothing_known(folder: Path) -> None:
    assert foreign(folder / "config.json") is None
    assert foreign(folder / "nothing") is None
    message = foreign(folder / SINGLE)
    assert message is not None
    assert "a file of weights, and its config.json" in message


def test_fields_that_are_ignored(folder: Path) -> None:
    values = GPT2 | {"my_note": "x", "stage": {"a": 1}, "unsloth_version": "2026.1"}
    (folder / "config.json").write_text(json.dumps(values))
    lines = refusal(folder).splitlines()
    assert lines[1:] == [
        "  - my_note: unknown field, value 'x'",
        "  - stage: unknown field, value {'a': 1}",
        "pass --ignore-field my_note --ignore-field stage if they do not change what the model "
        "computes",
    ]
    with pytest.raises(CheckpointError, match=r"stage: unknown field.*\npass --ignore-field s"):
        load_hugging_face(folder, ignored=["my_note"])
    model = load_hugging_face(folder, ignored=["stage", "my_note"]).model
    assert model.config.width == GPT2["n_embd"]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("n_embd", "the field is read, checked or known"),
        ("unsloth_version", "the field is read, checked or known"),
        ("quantization_config", "cannot be ignored; export the model from Python"),
        ("num_experts", "cannot be ignored; export the model from Python"),
        ("nothing", "no such field in config.json"),
    ],
)
def test_fields_that_are_not_ignored(folder: Path, name: str, words: str) -> None:
    values = GPT2 | {"num_experts": 8, "quantization_config": None, "unsloth_version": "1"}
    (folder / "config.json").write_text(json.dumps(values))
    with pytest.raises(CheckpointError, match=words):
        load_hugging_face(folder, ignored=["num_experts"] if name == "num_experts" else [name])
    message = refusal(folder)
    assert "num_experts: unknown field" in message
    assert "--ignore-field" not in message


def test_notes(folder: Path) -> None:
    """Notes say why a text has no start or stop token, and which tokenizer is not read."""
    assert load_hugging_face(folder).notes == (
        "no start token: bos_token_id 50256 is beyond the vocabulary of 11; pass --start ID to "
        "choose one",
        "no stop token: eos_token_id 50256 is beyond the vocabulary of 11; pass --stop when "
        "sampling",
    )
    assert load_hugging_face(folder, start=3).notes == (load_hugging_face(folder).notes[1],)
    (folder / "tokenizer_config.json").write_text('{"bos_token": null}')
    (folder / "generation_config.json").write_text('{"eos_token_id": [1, 99, 98]}')
    for name in ("vocab.json", "merges.txt"):
        (folder / name).write_text("{}")
    start, stop, tokenizer = load_hugging_face(folder).notes
    assert (
        start
        == "no start token: tokenizer_config.json has bos_token null; pass --start ID to choose one"
    )
    assert stop == "eos_token_ids 99, 98 are beyond the vocabulary of 11"
    assert tokenizer.startswith("values are ids: the folder has vocab.json and merges.txt, which")
    assert f"AutoTokenizer.from_pretrained({str(folder)!r}, use_fast=True)" in tokenizer
    (folder / "tokenizer.model").write_bytes(b"")
    assert "the folder has tokenizer.model, which" in load_hugging_face(folder).notes[2]
    (folder / "config.json").write_text(
        json.dumps(GPT2 | {"bos_token_id": 1, "eos_token_id": None})
    )
    for name in ("tokenizer_config.json", "generation_config.json", "tokenizer.model"):
        (folder / name).unlink()
    stop, _ = load_hugging_face(folder).notes
    assert stop == "no stop token: config.json has no eos_token_id; pass --stop when sampling"
