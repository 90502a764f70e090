"""A folder of transformers is read as it was written, or refused with every reason."""

import json
import os
import pickle
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from ancestral.errors import InvalidInput
from ancestral.train.hugging_face import load_hugging_face
from tests.train.hugging_face.folders import (
    BIN,
    INDEX,
    SINGLE,
    Pairs,
    Weights,
    assert_same,
    configure,
    emptied,
    refusal,
    save,
    split,
)
from tests.train.hugging_face.oracle import CONTEXT, LEVELS, log_probs, make


def test_what_is_read(pair: Pairs) -> None:
    case, before = pair("gpt2"), torch.get_rng_state()
    loaded = load_hugging_face(str(case.folder))
    assert torch.equal(before, torch.get_rng_state())
    model = loaded.model
    assert (loaded.kind, loaded.context, dict(loaded.files)) == ("gpt2", CONTEXT, {})
    assert not model.training
    assert all(weight.requires_grad for weight in model.parameters())
    assert all(tensor.dtype == torch.float32 for tensor in model.state_dict().values())
    assert (model.data.event_shape, model.data.levels) == ((CONTEXT,), LEVELS)
    assert (model.data.name, model.data.stop, model.data.tokenizer) == ("text", (7,), None)


@pytest.mark.parametrize("way", ["parts", "bin", "bin in parts", "old bin"])
def test_ways_to_store(pair: Pairs, gpt2: tuple[Path, Weights], way: str) -> None:
    folder, weights = gpt2
    match way:
        case "parts":
            split(folder, weights)
        case "bin":
            # Pickles also have the tied map, and masks of older versions.
            tied = {"lm_head.weight": weights["transformer.wte.weight"]}
            masks = {"transformer.h.0.attn.bias": torch.ones(1, 1, CONTEXT, CONTEXT).tril().bool()}
            masks["transformer.h.1.attn.masked_bias"] = torch.tensor(-1e4)
            torch.save(weights | tied | masks, folder / BIN)
        case "bin in parts":
            split(folder, weights, "bin")
        case "old bin":
            torch.save(weights, folder / BIN, _use_new_zipfile_serialization=False)
    assert_same(load_hugging_face(folder).model, pair("gpt2").loaded.model)


def test_shards_that_transformers_writes(pair: Pairs, tmp_path: Path) -> None:
    case = pair("qwen3-windows")
    case.theirs.save_pretrained(tmp_path, max_shard_size="20KB")
    assert len(list(tmp_path.glob("model-*.safetensors"))) > 2
    assert_same(load_hugging_face(tmp_path).model, case.loaded.model)


def test_without_the_prefix(pair: Pairs, gpt2: tuple[Path, Weights]) -> None:
    """Names may lack the prefix, as in the published GPT-2, whose folder has only the body."""
    folder, weights = gpt2
    save(
        {name.removeprefix("transformer."): each for name, each in weights.items()}, folder / SINGLE
    )
    assert_same(load_hugging_face(folder).model, pair("gpt2").loaded.model)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("name", ["llama", "gpt_neox", "imagegpt"])
def test_16_bits_are_widened(pair: Pairs, tmp_path: Path, name: str, dtype: torch.dtype) -> None:
    """16-bit weights are widened exactly, in every layout of a tensor."""
    folder, weights = emptied(pair(name), tmp_path)
    stored = {name: each.to(dtype) for name, each in weights.items()}
    save(stored, folder / SINGLE)
    model = load_hugging_face(folder).model
    save({name: each.float() for name, each in stored.items()}, folder / SINGLE)
    assert all(tensor.dtype == torch.float32 for tensor in model.state_dict().values())
    assert_same(load_hugging_face(folder).model, model)


@pytest.mark.parametrize("way", [SINGLE, BIN])
def test_weights_do_not_follow_the_file(pair: Pairs, gpt2: tuple[Path, Weights], way: str) -> None:
    folder, weights = gpt2
    save(weights, folder / way) if way == SINGLE else torch.save(weights, folder / way)
    model = load_hugging_face(folder).model
    with (folder / way).open("r+b") as file:
        file.write(bytes((folder / way).stat().st_size))
    assert_same(model, pair("gpt2").loaded.model)


def test_every_tensor_that_does_not_fit_is_named(gpt2: tuple[Path, Weights]) -> None:
    folder, weights = gpt2
    del weights["transformer.h.1.ln_1.bias"], weights["transformer.wpe.weight"]
    weights |= {"transformer.h.3.ln_1.bias": torch.zeros(48), "score.weight": torch.zeros(2, 48)}
    weights["transformer.h.0.attn.c_attn.weight"] = torch.zeros(144, 48)
    weights["transformer.ln_f.bias"] = torch.zeros(48, dtype=torch.int64)
    weights["lm_head.weight"] = torch.zeros(LEVELS, 48)
    save(weights, folder / SINGLE)
    lines = refusal(folder).splitlines()
    assert lines[0].endswith(
        f"{SINGLE}: the tensors do not fit config.json; download the folder again:"
    )
    assert lines[1:] == [
        "  - transformer.h.1.ln_1.bias: missing, of shape [48]",
        "  - transformer.wpe.weight: missing, of shape [24, 48]",
        "  - score.weight: unexpected, of shape [2, 48]",
        "  - transformer.h.3.ln_1.bias: unexpected, of shape [48]",
        "  - transformer.h.0.attn.c_attn.weight: expected shape [48, 144], got [144, 48]",
        "  - transformer.ln_f.bias: expected floats, got I64",
        "  - lm_head.weight: expected the numbers of transformer.wte.weight, since "
        "tie_word_embeddings is true, got others",
    ]


def test_an_untied_head_must_be_there(gpt2: tuple[Path, Weights]) -> None:
    folder, weights = gpt2
    save(weights, folder / SINGLE)
    configure(folder, tie_word_embeddings=False)
    assert "  - lm_head.weight: missing, of shape [101, 48]" in refusal(folder)


def test_parts_that_differ_from_the_index(gpt2: tuple[Path, Weights]) -> None:
    folder, weights = gpt2
    parts = split(folder, weights)
    index = json.loads((folder / INDEX).read_text())
    index["weight_map"]["transformer.extra"] = parts[0].name
    del index["weight_map"]["transformer.wte.weight"]
    (folder / INDEX).write_text(json.dumps(index))
    message = refusal(folder)
    assert f"  - transformer.extra: not in {parts[0].name}, where the index places it" in message
    assert "transformer.wte.weight: in model-0000" in message
    assert "but the index places it in no file" in message
    parts[1].unlink()
    assert f"parts ['{parts[1].name}'] of " in refusal(folder)


@pytest.mark.parametrize(
    "places",
    [
        None,
        [],
        {"a": 1},
        {"a": "../model.safetensors"},
        {"a": "/etc/model.safetensors"},
        {"a": "model.bin"},
    ],
)
def test_an_index_that_is_not_valid(gpt2: tuple[Path, Weights], places: object) -> None:
    folder, _ = gpt2
    (folder / INDEX).write_text(json.dumps({"weight_map": places}))
    assert "weight_map: expected the name of a .safetensors file" in refusal(folder)


@pytest.mark.parametrize("kept", [0, 4, 100, -1], ids=["empty", "length", "header", "data"])
def test_a_part_cut_short(gpt2: tuple[Path, Weights], kept: int) -> None:
    folder, weights = gpt2
    part = split(folder, weights)[1]
    part.write_bytes(part.read_bytes()[:kept])
    message = refusal(folder)
    assert str(part) in message
    assert "download it again if it was truncated or altered" in message


@pytest.mark.parametrize(
    ("header", "data", "words"),
    [
        ('{"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}, "a": 1}', 4, "'a' twice"),
        (
            '{"a": {"dtype": "F32", "shape": [1], "data_offsets": [4, 8]}}',
            8,
            "truncated or altered",
        ),
        (" " * 2**24 + "{}", 0, "its header claims 16,777,218 bytes"),
        (
            '{"a": {"dtype": "F8_E4M3", "shape": [4], "data_offsets": [0, 4]}}',
            4,
            "layers, but model.safetensors has only",
        ),
    ],
    ids=["double", "hole", "long", "eight bits"],
)
def test_the_header_of_a_part(
    gpt2: tuple[Path, Weights], header: str, data: int, words: str
) -> None:
    """A repeated name, bytes of no tensor and a long header are refused; an 8-bit type is read."""
    folder, _ = gpt2
    text = header.encode()
    (folder / SINGLE).write_bytes(struct.pack("<Q", len(text)) + text + bytes(data))
    assert words in refusal(folder)


@pytest.mark.parametrize("old", [False, True], ids=["zip", "old"])
@pytest.mark.parametrize("kept", [0, 40, 0.5, -1])
def test_a_pickle_cut_short(gpt2: tuple[Path, Weights], kept: float, old: bool) -> None:
    folder, weights = gpt2
    torch.save(weights, folder / BIN, _use_new_zipfile_serialization=not old)
    content = (folder / BIN).read_bytes()
    (folder / BIN).write_bytes(content[: int(kept * len(content)) if kept == 0.5 else int(kept)])
    message = refusal(folder)
    assert BIN in message
    assert "download it again" in message or "use a folder with" in message


@pytest.mark.parametrize("way", ["plain", "torch", "old torch"])
def test_a_pickle_that_would_run_code(gpt2: tuple[Path, Weights], way: str) -> None:
    folder, weights = gpt2
    sprung = folder / "sprung"

    class Trap:
        def __reduce__(self) -> tuple[Callable[..., object], tuple[str]]:
            return os.system, (f"touch {sprung}",)

    content = {**weights, "trap": Trap()}
    match way:
        case "plain":
            (folder / BIN).write_bytes(pickle.dumps({"trap": Trap()}, protocol=2))
        case "torch":
            torch.save(content, folder / BIN)
        case "old torch":
            torch.save(content, folder / BIN, _use_new_zipfile_serialization=False)
    message = refusal(folder)
    assert "expected a pickle of tensors only, got one that needs posix.system" in message
    assert "weights_only" not in message
    assert not sprung.exists()
    # The trap works: it springs if pickle reads the file.
    if way == "plain":
        pickle.loads((folder / BIN).read_bytes())
        assert sprung.exists()


def test_a_pickle_of_other_things(gpt2: tuple[Path, Weights]) -> None:
    folder, weights = gpt2
    torch.save({"model": weights, "step": 3}, folder / BIN)
    assert "expected a state dict" in refusal(folder)
    torch.save(list(weights.values()), folder / BIN)
    assert "expected a state dict" in refusal(folder)


def test_safetensors_come_before_a_pickle(pair: Pairs, gpt2: tuple[Path, Weights]) -> None:
    folder, weights = gpt2
    save(weights, folder / SINGLE)
    (folder / BIN).write_bytes(b"never opened")
    assert_same(load_hugging_face(folder).model, pair("gpt2").loaded.model)


def test_no_weights(gpt2: tuple[Path, Weights]) -> None:
    folder, _ = gpt2
    assert "got no weights" in refusal(folder)
    (folder / "model.fp16.safetensors").write_bytes(b"")
    (folder / "tf_model.h5").write_bytes(b"")
    assert "got ['model.fp16.safetensors', 'tf_model.h5']" in refusal(folder)


def test_no_folder(tmp_path: Path) -> None:
    assert "pass a folder that save_pretrained or `ancestral train` wrote" in refusal(
        tmp_path / "none"
    )


@torch.no_grad()
def test_shorter_events(pair: Pairs) -> None:
    for name in ("gpt2", "mistral", "llama-one-group"):
        case = pair(name)
        model = load_hugging_face(case.folder, length=9).model
        assert model.data.event_shape == (9,)
        got = model.position_log_prob(case.x[:, :9], None)
        assert (got - case.expected[:, :9]).abs().max() < 1e-4


def test_long_contexts_are_cut(pair: Pairs, tmp_path: Path) -> None:
    folder, weights = emptied(pair("llama"), tmp_path)
    save(weights, folder / SINGLE)
    configure(folder, max_position_embeddings=100_000)
    loaded = load_hugging_face(folder)
    assert (loaded.context, loaded.model.data.length) == (100_000, 4096)
    assert load_hugging_face(folder, length=5000).model.data.length == 5000


@pytest.mark.parametrize(
    ("name", "length"), [("gpt2", 25), ("gpt2", 0), ("llama", 25), ("imagegpt", 24)]
)
def test_a_length_that_is_not_valid(pair: Pairs, name: str, length: int) -> None:
    with pytest.raises(InvalidInput, match="length: expected"):
        load_hugging_face(pair(name).folder, length=length)


def test_a_plain_pickle_of_the_oracle(tmp_path: Path) -> None:
    """A state dict that torch.save wrote is read: pytorch_model.bin is one."""
    theirs = make("gpt_neox-serial")
    theirs.config.save_pretrained(tmp_path)
    torch.save(theirs.state_dict(), tmp_path / BIN)
    model = load_hugging_face(tmp_path).model
    x = torch.randint(0, LEVELS, (2, CONTEXT), generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        got = model.position_log_prob(x, None)
    assert (got - log_probs(theirs, x, 5)).abs().max() < 1e-4
