"""A folder of transformers is read as it stands, or refused with every reason."""

import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import Tensor

from ancestral.errors import CheckpointError, InvalidInput
from ancestral.train.hugging_face import load_hugging_face
from ancestral.train.models.transformer import Transformer
from tests.train.hugging_face.conftest import Pair
from tests.train.hugging_face.oracle import CONTEXT, LEVELS, log_probs, make

Pairs = Callable[[str], Pair]
Weights = dict[str, Tensor]
SINGLE, INDEX, BIN = "model.safetensors", "model.safetensors.index.json", "pytorch_model.bin"


@pytest.fixture
def gpt2(pair: Pairs, tmp_path: Path) -> tuple[Path, Weights]:
    """A folder that may be changed, without weights, and the weights that were there."""
    return emptied(pair("gpt2"), tmp_path)


def emptied(its: Pair, path: Path) -> tuple[Path, Weights]:
    path.joinpath("config.json").write_bytes((its.folder / "config.json").read_bytes())
    return path, safetensors.torch.load_file(its.folder / SINGLE)


def configure(folder: Path, **changes: Any) -> None:
    values = json.loads((folder / "config.json").read_text()) | changes
    (folder / "config.json").write_text(json.dumps(values))


def save(weights: Weights, path: Path) -> None:
    safetensors.torch.save_file(weights, path, metadata={"format": "pt"})


def split(folder: Path, weights: Weights, ending: str = "safetensors") -> list[Path]:
    """Write three parts and their index."""
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


def test_what_is_read(pair: Pairs) -> None:
    its, before = pair("gpt2"), torch.get_rng_state()
    loaded = load_hugging_face(str(its.folder))
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
            # As pickles have it: the tied map stands there too, and masks of older versions.
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
    its = pair("qwen3-windows")
    its.theirs.save_pretrained(tmp_path, max_shard_size="20KB")
    assert len(list(tmp_path.glob("model-*.safetensors"))) > 2
    assert_same(load_hugging_face(tmp_path).model, its.loaded.model)


def test_without_the_prefix(pair: Pairs, gpt2: tuple[Path, Weights]) -> None:
    """As a folder of the body alone, GPT-2's own."""
    folder, weights = gpt2
    save(
        {name.removeprefix("transformer."): each for name, each in weights.items()}, folder / SINGLE
    )
    assert_same(load_hugging_face(folder).model, pair("gpt2").loaded.model)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("name", ["llama", "gpt_neox", "imagegpt"])
def test_16_bits_are_widened(pair: Pairs, tmp_path: Path, name: str, dtype: torch.dtype) -> None:
    """Exactly: what was stored is what is there, through every way a tensor is laid out."""
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
    assert lines[0].endswith(f"{SINGLE}: not the tensors of config.json:")
    assert lines[1:] == [
        "  - transformer.h.1.ln_1.bias: missing, of shape [48]",
        "  - transformer.wpe.weight: missing, of shape [24, 48]",
        "  - score.weight: foreign, of shape [2, 48]",
        "  - transformer.h.3.ln_1.bias: foreign, of shape [48]",
        "  - transformer.h.0.attn.c_attn.weight: expected shape [48, 144], got [144, 48]",
        "  - transformer.ln_f.bias: expected floats, got I64",
        "  - lm_head.weight: expected transformer.wte.weight, for tie_word_embeddings is true, got "
        "other numbers",
    ]


def test_an_untied_head_must_be_there(gpt2: tuple[Path, Weights]) -> None:
    folder, weights = gpt2
    save(weights, folder / SINGLE)
    configure(folder, tie_word_embeddings=False)
    assert "  - lm_head.weight: missing, of shape [101, 48]" in refusal(folder)


def test_parts_that_are_not_those_of_the_index(gpt2: tuple[Path, Weights]) -> None:
    folder, weights = gpt2
    parts = split(folder, weights)
    index = json.loads((folder / INDEX).read_text())
    index["weight_map"]["transformer.extra"] = parts[0].name
    del index["weight_map"]["transformer.wte.weight"]
    (folder / INDEX).write_text(json.dumps(index))
    message = refusal(folder)
    assert f"  - transformer.extra: expected in {parts[0].name}, which does not hold it" in message
    assert "transformer.wte.weight: in model-0000" in message
    assert "where the index has no such tensor" in message
    parts[1].unlink()
    assert f"got none of the name ['{parts[1].name}']" in refusal(folder)


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
def test_an_index_that_is_none(gpt2: tuple[Path, Weights], places: object) -> None:
    folder, _ = gpt2
    (folder / INDEX).write_text(json.dumps({"weight_map": places}))
    assert "expected the field weight_map to name a .safetensors file" in refusal(folder)


@pytest.mark.parametrize("kept", [0, 4, 100, -1], ids=["empty", "length", "header", "data"])
def test_a_part_cut_short(gpt2: tuple[Path, Weights], kept: int) -> None:
    folder, weights = gpt2
    part = split(folder, weights)[1]
    part.write_bytes(part.read_bytes()[:kept])
    message = refusal(folder)
    assert str(part) in message
    assert "cut short or altered: fetch it anew" in message


@pytest.mark.parametrize("old", [False, True], ids=["zip", "old"])
@pytest.mark.parametrize("kept", [0, 40, 0.5, -1])
def test_a_pickle_cut_short(gpt2: tuple[Path, Weights], kept: float, old: bool) -> None:
    folder, weights = gpt2
    torch.save(weights, folder / BIN, _use_new_zipfile_serialization=not old)
    content = (folder / BIN).read_bytes()
    (folder / BIN).write_bytes(content[: int(kept * len(content)) if kept == 0.5 else int(kept)])
    message = refusal(folder)
    assert BIN in message
    assert "fetch it anew" in message or "take a folder with" in message


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
    assert "expected a pickle of tensors alone, got one that asks for posix.system" in message
    assert "weights_only" not in message
    assert not sprung.exists()
    # The trap is one: read otherwise it springs.
    if way == "plain":
        pickle.loads((folder / BIN).read_bytes())
        assert sprung.exists()


def test_a_pickle_of_other_things(gpt2: tuple[Path, Weights]) -> None:
    folder, weights = gpt2
    torch.save({"model": weights, "step": 3}, folder / BIN)
    assert "expected tensors by their names" in refusal(folder)
    torch.save(list(weights.values()), folder / BIN)
    assert "expected tensors by their names" in refusal(folder)


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
    assert "a model is the folder that save_pretrained writes" in refusal(tmp_path / "none")


@torch.no_grad()
def test_shorter_events(pair: Pairs) -> None:
    for name in ("gpt2", "mistral", "llama-one-group"):
        its = pair(name)
        model = load_hugging_face(its.folder, length=9).model
        assert model.data.event_shape == (9,)
        got = model.position_log_prob(its.x[:, :9], None)
        assert (got - its.expected[:, :9]).abs().max() < 1e-4


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
def test_a_length_that_is_none(pair: Pairs, name: str, length: int) -> None:
    with pytest.raises(InvalidInput, match="length: expected"):
        load_hugging_face(pair(name).folder, length=length)


@pytest.mark.parametrize(
    ("fields", "settings", "start"),
    [
        ({}, None, 5),
        ({"bos_token_id": LEVELS}, None, None),
        ({"bos_token_id": None}, None, None),
        ({}, {"bos_token": None}, None),
        ({}, {"bos_token": "<s>"}, 5),
        ({}, {"add_bos_token": False}, 5),
    ],
)
def test_start(
    pair: Pairs, tmp_path: Path, fields: dict[str, Any], settings: object, start: int | None
) -> None:
    folder, weights = emptied(pair("llama"), tmp_path)
    save(weights, folder / SINGLE)
    configure(folder, **fields)
    if settings is not None:
        (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    assert load_hugging_face(folder).model.config.start == start
    assert load_hugging_face(folder, start=3).model.config.start == 3
    assert load_hugging_face(folder, start=None).model.config.start is None


@pytest.mark.parametrize(("name", "start"), [("llama", LEVELS), ("llama", -1), ("imagegpt", 3)])
def test_a_start_that_is_none(pair: Pairs, name: str, start: int) -> None:
    with pytest.raises(InvalidInput, match="start: expected"):
        load_hugging_face(pair(name).folder, start=start)


def test_start_and_stop_that_are_no_ids(gpt2: tuple[Path, Weights]) -> None:
    folder, weights = gpt2
    save(weights, folder / SINGLE)
    configure(folder, eos_token_id="</s>")
    assert "eos_token_id: expected token ids, got '</s>'" in refusal(folder)
    configure(folder, eos_token_id=7, bos_token_id=1.5)
    assert "bos_token_id: expected token ids, got 1.5" in refusal(folder)


@pytest.mark.parametrize(
    ("fields", "generation", "stop"),
    [
        (7, None, (7,)),
        ([7, 9, 7, 500], None, (7, 9)),
        (None, None, ()),
        (7, {"eos_token_id": [1, 2]}, (1, 2)),
        (7, {"eos_token_id": None}, (7,)),
        (7, {"temperature": 0.6}, (7,)),
    ],
)
def test_stop(gpt2: tuple[Path, Weights], fields: object, generation: Any, stop: object) -> None:
    folder, weights = gpt2
    save(weights, folder / SINGLE)
    configure(folder, eos_token_id=fields)
    if generation is not None:
        (folder / "generation_config.json").write_text(json.dumps(generation))
    assert load_hugging_face(folder).model.data.stop == stop


def vocabulary(size: int, added: int) -> bytes:
    model = {"type": "WordLevel", "vocab": {f"w{i}": i for i in range(size)}, "unk_token": "w0"}
    token = {"id": added, "content": "<s>", "special": True}
    return json.dumps({"version": "1.0", "added_tokens": [token], "model": model}).encode()


def test_tokenizers(gpt2: tuple[Path, Weights]) -> None:
    folder, weights = gpt2
    save(weights, folder / SINGLE)
    words = "\n".join(f"w{i}" for i in range(20)).encode()
    (folder / "vocab.txt").write_bytes(words)
    loaded = load_hugging_face(folder)
    assert (loaded.model.data.tokenizer, dict(loaded.files)) == ("words", {"vocab.txt": words})
    # Pieces of words, which a table of words would take for unknown ones.
    (folder / "vocab.txt").write_bytes(b"[UNK]\nun\n##able\n")
    loaded = load_hugging_face(folder)
    assert (loaded.model.data.tokenizer, dict(loaded.files)) == (None, {})
    # Smaller than the vocabulary: embeddings are padded.
    (folder / "tokenizer.json").write_bytes(vocabulary(50, LEVELS - 1))
    loaded = load_hugging_face(folder)
    assert loaded.model.data.tokenizer == "tokenizers"
    assert dict(loaded.files) == {"tokenizer.json": vocabulary(50, LEVELS - 1)}
    (folder / "tokenizer.json").write_bytes(vocabulary(50, LEVELS))
    assert "expected ids below 101, the model's vocabulary, got ids up to 101" in refusal(folder)
    (folder / "tokenizer.json").write_bytes(b"{")
    assert "tokenizer.json: expected JSON" in refusal(folder)


def test_colours(pair: Pairs, tmp_path: Path) -> None:
    folder, weights = emptied(pair("imagegpt"), tmp_path)
    save(weights, folder / SINGLE)
    path = folder / "preprocessor_config.json"
    clusters = [[-1.0, 0.0, 1.0]] + [[0.5, -0.5, i / 20] for i in range(16)]
    path.write_text(json.dumps({"clusters": clusters, "do_resize": True}))
    data = load_hugging_face(folder).model.data
    assert (data.name, data.event_shape, data.levels) == ("images", (5, 5), 17)
    assert data.palette is not None
    assert data.palette[:2] == ((0, 128, 255), (191, 64, 128))
    for wrong in (clusters[1:], [*clusters[1:], [0.0, 0.0, 1.5]], "red", [[0.0, 0.0]] * 17):
        path.write_text(json.dumps({"clusters": wrong}))
        assert "clusters to be 17 colours of three numbers in -1 .. 1" in refusal(folder)
    path.write_text("{}")
    assert load_hugging_face(folder).model.data.palette is None


def test_a_plain_pickle_of_the_oracle(tmp_path: Path) -> None:
    """torch.save of a state dict of transformers: what pytorch_model.bin is."""
    theirs = make("gpt_neox-serial")
    theirs.config.save_pretrained(tmp_path)
    torch.save(theirs.state_dict(), tmp_path / BIN)
    model = load_hugging_face(tmp_path).model
    x = torch.randint(0, LEVELS, (2, CONTEXT), generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        got = model.position_log_prob(x, None)
    assert (got - log_probs(theirs, x, 5)).abs().max() < 1e-4
