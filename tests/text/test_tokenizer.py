"""Text to ids and back: bytes, words, the tokenizers library."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ancestral.bundles.bundle import Bundle
from ancestral.dataspec import DataSpec
from ancestral.errors import BackendUnavailable, BundleError, InvalidInput
from ancestral.export.bundle import export_bundle
from ancestral.text.kinds import check_tokenizer, open_tokenizer
from ancestral.text.tokenizer import Tokenizer
from tests.tamper import add_file, change_manifest, copied
from tests.text_toys import END, PADDED, make_text, tokenizer_json
from tests.tokenizer_toys import PIECES, with_bytes

WORDS = b"the\ncat\nsat\n"
TEXT = "naïve café 😀 \u0928\u092e\u0938\u094d\u0924\u0947"


@pytest.fixture(scope="module")
def library() -> Tokenizer:
    return open_tokenizer("tokenizers", tokenizer_json())


def test_bytes() -> None:
    tokenizer = open_tokenizer("bytes", b"")
    assert tokenizer.encode(TEXT) == list(TEXT.encode())
    assert tokenizer.decode(tokenizer.encode(TEXT)) == TEXT
    assert tokenizer.decode([104, 255, 300, 105]) == "h\N{REPLACEMENT CHARACTER}i"


def test_words() -> None:
    tokenizer = open_tokenizer("words", WORDS)
    for table in (WORDS.replace(b"\n", b"\r\n"), b"\xef\xbb\xbf" + WORDS):
        assert open_tokenizer("words", table).encode("the sat") == [0, 2]
    assert tokenizer.size == 3
    assert tokenizer.encode(" the cat\n the  sat ") == [0, 1, 0, 2]
    assert tokenizer.decode([1, 0, 7, 2]) == "cat the sat"
    assert tokenizer.encode("") == []
    with pytest.raises(InvalidInput, match=r"neither <unk> nor \[UNK\], got 'dog', 'fox'"):
        tokenizer.encode("the dog fox dog")


@pytest.mark.parametrize("unknown", ["<unk>", "[UNK]"])
def test_unknown_words(unknown: str) -> None:
    assert open_tokenizer("words", f"the\n{unknown}\n".encode()).encode("the dog") == [0, 1]


@pytest.mark.parametrize(
    ("table", "words"),
    [
        (b"the\ncat\nthe\n", "line 3: expected each word once, got 'the', which is also in line 1"),
        (b"the\n\ncat\n", "line 2: expected a word"),
        (b"the cat\n", "line 1: expected a word without blanks"),
        (b"", "line 1"),
        (b"\xff\n", "vocab.txt: not UTF-8"),
    ],
)
def test_tables_refused(table: bytes, words: str) -> None:
    with pytest.raises(InvalidInput, match=words):
        open_tokenizer("words", table)


def test_library(library: Tokenizer) -> None:
    """Merges are used; nothing is added, cut or padded; special tokens are parsed."""
    ids = library.encode("the cat sat on the mat" + END)
    assert 5 < len(ids) < 22
    assert ids[-1] == 0
    assert ids.count(0) == 1
    assert library.decode(ids) == "the cat sat on the mat" + END
    assert library.decode(library.encode(TEXT)) == TEXT
    assert library.decode([-1, *library.encode("cat"), library.size + 1, 2**40]) == "cat"


@pytest.mark.parametrize("content", [b"{}", b"no JSON", b"\xff", b'{"model": 3}'])
def test_files_refused(content: bytes) -> None:
    for action in (open_tokenizer, lambda *a: check_tokenizer(*a, levels=9)):
        with pytest.raises(InvalidInput, match=r"tokenizer\.json: "):
            action("tokenizers", content)


@pytest.mark.parametrize("kind", ["bytes", "words", "tokenizers"])
def test_half_a_character_is_not_text(kind: Any) -> None:
    content = {"bytes": b"", "words": WORDS, "tokenizers": tokenizer_json()}[kind]
    with pytest.raises(InvalidInput, match="a lone surrogate"):
        open_tokenizer(kind, content).encode("caf\udcc3")


def test_without_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    content = tokenizer_json()
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    with pytest.raises(BackendUnavailable, match=r"pip install 'ancestral\[text\]'"):
        open_tokenizer("tokenizers", content)
    check_tokenizer("tokenizers", content, 290)
    assert open_tokenizer("words", WORDS).size == 3


def test_size_by_json_is_the_librarys(library: Tokenizer) -> None:
    check_tokenizer("tokenizers", tokenizer_json(), library.size)
    with pytest.raises(InvalidInput, match=r"expected ids below 289.*up to 289"):
        check_tokenizer("tokenizers", tokenizer_json(), library.size - 1)
    added = json.loads(tokenizer_json())
    added["added_tokens"].append({**added["added_tokens"][0], "id": 400, "content": "<far>"})
    with pytest.raises(InvalidInput, match="up to 400"):
        check_tokenizer("tokenizers", json.dumps(added).encode(), 300)
    assert with_bytes("llama").size == 257 + len(PIECES)
    check_tokenizer("words", WORDS, 3)
    with pytest.raises(InvalidInput, match=r"vocab\.txt: expected ids below 2"):
        check_tokenizer("words", WORDS, 2)


def test_a_bundle_opens_its_tokenizer(bundles: Callable[[str], Path], library: Tokenizer) -> None:
    bundle = Bundle.open(bundles("text"))
    assert bundle.manifest.data.levels == library.size + PADDED
    assert bundle.tokenizer().encode(TEXT) == library.encode(TEXT)


def test_a_bundle_of_words(bundles: Callable[[str], Path], tmp_path: Path) -> None:
    words = copied(bundles("llama"), tmp_path)
    add_file(words, "vocab.txt", WORDS, tokenizer="words")
    assert Bundle.open(words).tokenizer().encode("cat") == [1]
    with pytest.raises(InvalidInput, match="no tokenizer in the bundle; pass ids"):
        Bundle.open(bundles("llama")).tokenizer()


def test_another_models_tokenizer(bundles: Callable[[str], Path], tmp_path: Path) -> None:
    copy = copied(bundles("llama"), tmp_path)
    add_file(copy, "vocab.txt", WORDS + b"on\nmat\n", tokenizer="words")
    with pytest.raises(BundleError, match=r"vocab\.txt: expected ids below 4.*up to 4"):
        Bundle.open(copy)


def test_a_bundle_without_its_tokenizer(bundles: Callable[[str], Path], tmp_path: Path) -> None:
    copy = copied(bundles("text"), tmp_path)
    (copy / "tokenizer.json").write_bytes((copy / "tokenizer.json").read_bytes() + b" ")
    with pytest.raises(BundleError, match=r"tokenizer\.json: expected \d+ bytes"):
        Bundle.open(copy)
    change_manifest(copy, lambda values: values["files"].pop("tokenizer.json"))
    with pytest.raises(BundleError, match=r"tokenizer\.json: used, but not in the files"):
        Bundle.open(copy)


def spec(**fields: Any) -> DataSpec:
    return DataSpec(name="x", event_shape=(4, 4), levels=3, **fields)


GREY = ((0, 0, 0), (9, 9, 9), (255, 255, 255))


def test_json() -> None:
    """Data that is written as JSON is read back unchanged."""
    whole = spec(stop=(2,), palette=GREY)
    assert DataSpec.model_validate_json(whole.model_dump_json()) == whole


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"stop": (3,)}, r"stop: expected different values in 0 \.\. 2"),
        ({"stop": (-1,)}, "stop: "),
        ({"stop": (1, 1)}, "stop: expected different"),
        ({"palette": GREY[:2]}, "a colour for each of 3 levels, got 2"),
        ({"palette": (*GREY[:2], (0, 0, 256))}, "less than or equal to 255"),
        ({"tokenizer": "sentencepiece"}, "tokenizer"),
    ],
)
def test_data_refused(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        spec(**fields)


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({}, r"expected tokenizer\.json, .* got \[\]"),
        ({"tokenizer.json": b"{}"}, "expected JSON with a model"),
    ],
)
def test_export_needs_the_tokenizer(tmp_path: Path, files: dict[str, bytes], words: str) -> None:
    with pytest.raises(InvalidInput, match=words):
        export_bundle(make_text(), tmp_path / "out", files=files)
    assert not (tmp_path / "out").exists()


def test_another_vocabulary_is_not_exported(tmp_path: Path, library: Tokenizer) -> None:
    model = make_text()
    model.data = model.data.model_copy(update={"levels": library.size - 1})
    with pytest.raises(InvalidInput, match=r"tokenizer\.json: expected ids below 289"):
        export_bundle(model, tmp_path / "out", files={"tokenizer.json": tokenizer_json()})
