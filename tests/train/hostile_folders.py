"""Folders of transformers and diffusers with absurd values, or with files that do not belong."""

import json
import os
import struct
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import safetensors.torch
import torch

from ancestral.train.diffusers_folder import load_diffusers
from ancestral.train.hugging_face import load_hugging_face
from ancestral.train.hugging_face.known import read_config
from tests.latent_toys import make_latent

Attempt = Callable[[str, Callable[[], object]], None]
LLAMA: dict[str, Any] = {
    "model_type": "llama",
    "vocab_size": 11,
    "hidden_size": 8,
    "intermediate_size": 12,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "max_position_embeddings": 64,
}
GPT2: dict[str, Any] = {
    "model_type": "gpt2",
    "vocab_size": 11,
    "n_embd": 8,
    "n_layer": 1,
    "n_head": 2,
    "n_positions": 16,
}
_NUMBERS: tuple[Any, ...] = (2**31, 10**9, 10**4, -1, True, "3", 1e999, "x" * 2**16)
SINGLE, INDEX, BIN = "model.safetensors", "model.safetensors.index.json", "pytorch_model.bin"


def write(folder: Path, values: dict[str, Any]) -> dict[str, torch.Tensor]:
    """Write a checkpoint, and return its weights."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(values))
    architecture, network = read_config(folder, values)
    entries = architecture.entries(network, 16, architecture.prefix, architecture.heads[0])
    weights = {name: torch.ones(shape) for entry in entries for name, shape in entry.stored.items()}
    safetensors.torch.save_file(weights, folder / SINGLE)
    return weights


def attempt_all(folder: Path, attempt: Attempt) -> None:
    """Attempt to load every case, written below a folder."""
    for values in (LLAMA, GPT2):
        kind = values["model_type"]
        path = folder / kind
        weights = write(path, values)
        load_hugging_face(path)
        for name, changes in _configs(values):
            (path / "config.json").write_text(json.dumps(values | changes))
            attempt(f"{kind} {name}", lambda path=path: load_hugging_face(path))
        (path / "config.json").write_text(json.dumps(values))
    for name, change in _files(weights).items():
        path = folder / name.replace(" ", "_")
        write(path, GPT2)
        change(path)
        attempt(f"file: {name}", lambda path=path: load_hugging_face(path))
    _diffusers(folder / "diffusers", attempt)


def _configs(values: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for field in sorted(values.keys() - {"model_type"}):
        for number in _NUMBERS:
            yield f"{field}={repr(number)[:20]}", {field: number}
    yield "unknown", {f"field {i}": "x" * 100 for i in range(5000)}
    yield "a type", {"model_type": "x" * 2**16}
    yield "rope", {"rope_scaling": {"type": ["x" * 2**16], "factor": "y" * 2**16}}
    yield "kinds", {"layer_types": [["x"] * 10_000]}
    yield "a stop", {"eos_token_id": ["x" * 2**16]}
    yield "nested", {"note": json.loads("[" * 500 + "]" * 500)}


def _files(weights: dict[str, torch.Tensor]) -> dict[str, Callable[[Path], object]]:
    """Return changes of a folder of GPT-2 by name."""

    def header(text: bytes, data: bytes = b"", length: int | None = None) -> Callable[[Path], None]:
        size = struct.pack("<Q", len(text) if length is None else length)
        return lambda folder: (folder / SINGLE).write_bytes(size + text + data) and None

    def tensor(**changes: Any) -> bytes:
        entry = {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]} | changes
        return json.dumps({"transformer.wte.weight": entry}).encode()

    def index(places: object) -> Callable[[Path], None]:
        def change(folder: Path) -> None:
            (folder / SINGLE).unlink()
            (folder / INDEX).write_text(json.dumps({"weight_map": places}))

        return change

    def replaced(name: str, make: Callable[[Path], object]) -> Callable[[Path], None]:
        def change(folder: Path) -> None:
            (folder / name).unlink(missing_ok=True)
            make(folder / name)

        return change

    def pickled(content: object) -> Callable[[Path], None]:
        def change(folder: Path) -> None:
            (folder / SINGLE).unlink()
            torch.save(content, folder / BIN)

        return change

    repeated = weights | {"transformer.wte.weight": torch.ones(1, 1).expand(2**31, 2**20)}
    return {
        "config is a pipe": replaced("config.json", os.mkfifo),
        "config is a folder": replaced("config.json", Path.mkdir),
        "config is a device": replaced("config.json", lambda path: path.symlink_to("/dev/zero")),
        "config is large": replaced("config.json", lambda path: _sparse(path, 2**33)),
        "config is nested": replaced("config.json", lambda path: path.write_text("[" * 10**5)),
        "config is a number": replaced("config.json", lambda path: path.write_text("9" * 10**5)),
        "weights are a pipe": replaced(SINGLE, os.mkfifo),
        "weights are a device": replaced(SINGLE, lambda path: path.symlink_to("/dev/zero")),
        "weights are a folder": replaced(SINGLE, Path.mkdir),
        "weights are sparse": replaced(SINGLE, lambda path: _sparse(path, 2**40)),
        "header beyond the file": header(b"{}", length=2**62),
        "header of a gigabyte": lambda folder: _long_header(folder / SINGLE, 2**30),
        "header nested": header(b'{"a":' * 10**5),
        "header of huge shapes": header(tensor(shape=[2**40, 2**40]), bytes(16)),
        "header of negative shapes": header(tensor(shape=[-4]), bytes(16)),
        "header of offsets outside": header(tensor(data_offsets=[0, 2**60]), bytes(16)),
        "header of offsets in reverse": header(tensor(data_offsets=[16, 0]), bytes(16)),
        "header of another type": header(tensor(dtype="F33"), bytes(16)),
        "header of many tensors": header(_many(20_000)),
        "index that leaves the folder": index({"a": "../../etc/x.safetensors"}),
        "index of long names": index({"a": "x" * 5000 + ".safetensors"}),
        "index of a NUL": index({"a": "x\0.safetensors"}),
        "index of a surrogate": index({"a": "\ud800.safetensors"}),
        "index of many names": index({f"a{i}": f"{i}.safetensors" for i in range(200_000)}),
        "index of many tensors": index({f"a{i}": "x.safetensors" for i in range(200_000)}),
        "index of a pipe": lambda folder: _piped_part(folder, index),
        "repeated numbers": pickled(repeated),
        "a compressed pickle": _compressed,
        "a large tokenizer": lambda folder: _sparse(folder / "tokenizer.json", 2**33),
        "nested settings": lambda folder: (folder / "tokenizer_config.json").write_text("[" * 9999),
    }


def _many(tensors: int) -> bytes:
    empty = {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}
    return json.dumps({f"transformer.h.{i}.x": empty for i in range(tensors)}).encode()


def _sparse(path: Path, size: int) -> None:
    with path.open("wb") as file:
        file.truncate(size)


def _long_header(path: Path, length: int) -> None:
    with path.open("wb") as file:
        file.write(struct.pack("<Q", length))
        file.truncate(length + 8)


def _piped_part(folder: Path, index: Callable[[object], Callable[[Path], None]]) -> None:
    index({"a": "part.safetensors"})(folder)
    os.mkfifo(folder / "part.safetensors")


def _compressed(folder: Path) -> None:
    """Write an archive like torch.save's, whose pickle is 64 MiB of zeros."""
    (folder / SINGLE).unlink()
    with zipfile.ZipFile(folder / BIN, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        archive.writestr("archive/version", "3\n")
        with archive.open("archive/data.pkl", "w", force_zip64=True) as file:
            for _ in range(64):
                file.write(bytes(2**20))


def _diffusers(folder: Path, attempt: Attempt) -> None:
    folder.mkdir()
    model = make_latent("diffusion")
    values = {
        "_class_name": "AutoencoderKL",
        "block_out_channels": [4, 8],
        "latent_channels": 2,
        "norm_num_groups": 2,
        "down_block_types": ["DownEncoderBlock2D"] * 2,
        "up_block_types": ["UpDecoderBlock2D"] * 2,
    }
    file = folder / "diffusion_pytorch_model.safetensors"
    safetensors.torch.save_file(dict(model.state_dict()), file)
    for name, changes in {
        "layers": {"layers_per_block": 4096},
        "channels": {"latent_channels": 4096},
        "widths": {"block_out_channels": [2**31] * 2},
        "stages": {"block_out_channels": [2] * 100_000},
        "a float": {"scaling_factor": float("nan")},
        "unknown": {f"field {i}": "x" * 100 for i in range(5000)},
        "a class": {"_class_name": "AutoencoderKL" * 5000},
        "a function": {"act_fn": "x" * 2**16},
        "means": {"latents_mean": [0.0] * 100_000},
        "whole": {},
    }.items():
        (folder / "config.json").write_text(json.dumps(values | changes))
        attempt(f"diffusers {name}", lambda: load_diffusers(folder, 8))
    attempt("diffusers size", lambda: load_diffusers(folder, 2**40))
    file.unlink()
    os.mkfifo(file)
    attempt("diffusers pipe", lambda: load_diffusers(folder, 8))
