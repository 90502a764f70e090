"""Settings of a tokenizer.json that make ids or text random, or cut them, are switched off."""

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from ancestral.errors import InvalidInput
from ancestral.text.kinds import check_tokenizer, open_tokenizer
from ancestral.text.tokenizer import Tokenizer
from ancestral.text.tokenizer_file import read_document, settled, shared_ids, switched_off
from tests.text_toys import tokenizer_json
from tests.tokenizer_toys import bpe, document, opened, with_dropout

TEXT = "the cat sat on the mat and the dog sat on the log " * 3
TRUNCATION = {"direction": "Right", "max_length": 3, "strategy": "LongestFirst", "stride": 2}
PADDING = {
    "strategy": {"Fixed": 40},
    "direction": "Right",
    "pad_to_multiple_of": None,
    "pad_id": 0,
    "pad_type_id": 0,
    "pad_token": "a",
}


@pytest.mark.parametrize("rate", [0.3, 1.0])
def test_dropout_is_off(rate: float) -> None:
    """The ids are those without dropout, in any thread and in any order."""
    ids = open_tokenizer("tokenizers", tokenizer_json()).encode(TEXT)
    tokenizer = open_tokenizer("tokenizers", with_dropout(rate))
    texts = [TEXT[: 1 + i % len(TEXT)] for i in range(100)]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(tokenizer.encode, [TEXT] * 100))
        parts = list(pool.map(tokenizer.encode, texts))
    assert all(each == ids for each in found)
    assert parts == list(map(tokenizer.encode, texts))


def unigram(**fields: Any) -> dict[str, Any]:
    pieces = [["<unk>", 0.0], ["a", -1.0], ["b", -1.0], ["ab", -1.5], ["ba", -1.9]]
    return {"type": "Unigram", "unk_id": 0, "vocab": pieces, **fields}


SPECIAL = {"id": "a", "ids": [0], "tokens": ["a"]}
TEMPLATE = {
    "type": "TemplateProcessing",
    "single": [
        {"SpecialToken": {"id": "a", "type_id": 0}},
        {"Sequence": {"id": "A", "type_id": 0}},
    ],
    "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 0}}],
    "special_tokens": {"a": SPECIAL},
}
ROBERTA = {"type": "RobertaProcessing", "sep": ["a", 0], "cls": ["b", 1], "trim_offsets": True}
BERT = {"type": "BertProcessing", "sep": ["a", 0], "cls": ["b", 1]}
MERGED = (["a", "b", "ab"], [["a", "b"]])
ROBERTA["add_prefix_space"] = False


@pytest.mark.parametrize(
    ("values", "off", "ids"),
    [
        (document(bpe(*MERGED)), [], [2, 2, 2, 0]),
        (document(bpe(*MERGED, dropout=0.0)), [], [2, 2, 2, 0]),
        (document(bpe(*MERGED, dropout=0.5)), ["dropout 0.5"], [2, 2, 2, 0]),
        (document(bpe(*MERGED, dropout=0.5, ignore_merges=True)), ["dropout 0.5"], [2, 2, 2, 0]),
        (document(unigram(alpha=0.1, nbest_size=9)), ["alpha 0.1"], [3, 3, 3, 1]),
        (document(bpe(*MERGED), truncation=TRUNCATION), ["truncation"], [2, 2, 2, 0]),
        (document(bpe(*MERGED), padding=PADDING), ["padding"], [2, 2, 2, 0]),
        (document(bpe(*MERGED), post_processor=TEMPLATE), [], [2, 2, 2, 0]),
        (document(bpe(*MERGED), post_processor=ROBERTA), [], [2, 2, 2, 0]),
        (document(bpe(*MERGED), post_processor=BERT), [], [2, 2, 2, 0]),
    ],
)
def test_settings(values: dict[str, Any], off: list[str], ids: list[int]) -> None:
    """The ids are those of the text without additions, and the same each time."""
    content = json.dumps(values).encode()
    assert switched_off(read_document(content)) == off
    assert switched_off(settled(values)) == []
    tokenizer = opened(values)
    for _ in range(30):
        assert tokenizer.encode("abababa") == ids


def test_an_id_of_two_tokens_is_always_the_same_text() -> None:
    """The first token in the file is chosen; the library would choose another at each opening."""
    values = document(bpe(["a", "b", "c"]))
    values["model"]["vocab"] |= {"B": 1, "bb": 1}
    assert shared_ids(values) == {1: "b"}

    def text(tokenizer: Tokenizer) -> str:
        return tokenizer.decode([0, 1, 1, 2])

    assert {text(opened(values)) for _ in range(40)} == {"a b b c"}


BASE = '{"model": {"type": "BPE", "vocab": {"a": 0, "b": %s}, "merges": []}, "added_tokens": []}'
PANIC = '"normalizer": {"type": "Precompiled", "precompiled_charsmap": "////"}'
FOREIGN: dict[str, bytes] = {
    **{
        f"id {i[:12]}": (BASE % i).encode()
        for i in ("1e999", "NaN", "-1", "1.5", "true", '"1"', "[1]", "9" * 5000, str(2**40))
    },
    "deep": b'{"model":' + b"[" * 100_000,
    "deep and whole": (
        b'{"model": {"vocab": {}, "dropout": 0.1, "x": ' + b"[" * 800 + b"]" * 800 + b"}}"
    ),
    "deep decoders": (
        b'{"model": {"type": "BPE", "vocab": {}, "merges": []}, "decoder": '
        + b'{"type": "Sequence", "decoders": [' * 400
        + b"]}" * 400
        + b"}"
    ),
    "added tokens": (BASE % 1).replace("[]}", '[{"id": 1e999}]}').encode(),
    "no unknown piece": b'{"model": {"type": "Unigram", "unk_id": 99, "vocab": [["a", 0.0]]}}',
    "UTF-16": (BASE % 1).encode("utf-16"),
    # The library panics, which is not an `Exception` in Python.
    "panic": (BASE % 1).replace('"added', f'{PANIC}, "added').encode(),
}


@pytest.mark.parametrize("name", FOREIGN)
def test_foreign(name: str) -> None:
    """A file is refused in one short sentence, at the opening of a bundle or by the library."""

    def read() -> None:
        check_tokenizer("tokenizers", FOREIGN[name], 10)
        open_tokenizer("tokenizers", FOREIGN[name])

    with pytest.raises(InvalidInput, match=r"^tokenizer\.json: ") as caught:
        read()
    assert len(str(caught.value)) < 500
    assert "\n" not in str(caught.value)


def test_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ancestral.text.tokenizer_file.TOKENIZER_BYTES", 50)
    with pytest.raises(InvalidInput, match=r"got \d+ bytes, more than 50"):
        read_document((BASE % 1).encode())
