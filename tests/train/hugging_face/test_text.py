"""The start, the stop values, the tokenizer and the colours that a folder has for its events."""

import json
from pathlib import Path
from typing import Any

import pytest

from ancestral.errors import InvalidInput
from ancestral.train.hugging_face import load_hugging_face
from tests.train.hugging_face.folders import (
    SINGLE,
    Pairs,
    Weights,
    configure,
    emptied,
    refusal,
    save,
)
from tests.train.hugging_face.oracle import LEVELS


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
def test_a_start_that_is_not_valid(pair: Pairs, name: str, start: int) -> None:
    with pytest.raises(InvalidInput, match="start: expected"):
        load_hugging_face(pair(name).folder, start=start)


def test_start_and_stop_that_are_not_ids(gpt2: tuple[Path, Weights]) -> None:
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
    # Pieces of words, which a table of words would read as unknown words.
    (folder / "vocab.txt").write_bytes(b"[UNK]\nun\n##able\n")
    loaded = load_hugging_face(folder)
    assert (loaded.model.data.tokenizer, dict(loaded.files)) == (None, {})
    # A tokenizer smaller than the vocabulary is read: embeddings may be padded.
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
        assert "clusters: expected 17 colours of three numbers in -1 .. 1" in refusal(folder)
    path.write_text("{}")
    assert load_hugging_face(folder).model.data.palette is None
