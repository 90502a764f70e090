"""How much of a text a vocabulary covers, in characters or words of the user's text."""

from typing import Any

import pytest

from ancestral.errors import InvalidInput
from ancestral.text.coverage import Coverage
from ancestral.text.kinds import open_tokenizer
from ancestral.text.tokenizer import Tokenizer
from tests.tokenizer_toys import METASPACE, bpe, document, every_kind, opened

LETTERS = ["a", "b", "ab", "▁", "é", "<unk>"]
MERGE = [["a", "b"]]
PREPEND = {"type": "Prepend", "prepend": "▁"}
NFC = {"type": "NFC"}
SPACES = {"type": "WhitespaceSplit"}
END = {
    "id": 5,
    "content": "<Ω>",
    "single_word": False,
    "lstrip": False,
    "rstrip": False,
    "normalized": False,
    "special": True,
}
CHARACTERS, WORDS = "characters", "words"
KINDS = every_kind()


def letters(unknown: str | None, **fields: Any) -> Tokenizer:
    tokens = LETTERS if unknown is not None else LETTERS[:-1]
    return opened(document(bpe(tokens, MERGE, unk_token=unknown), **fields))


def found(tokenizer: Tokenizer, text: str) -> tuple[Any, ...]:
    each = tokenizer.coverage(text)
    return each.unknown, each.total, each.unit, each.nothing, each.examples, each.read_as


@pytest.mark.parametrize("unknown", [None, "<unk>"])
@pytest.mark.parametrize(
    ("text", "lost", "fields"),
    [
        ("abab", "", {}),
        ("a日ab本日b", "日本日", {}),
        ("日本", "日本", {}),
        ("", "", {}),
        # A blank has no id unless a pre-tokenizer splits texts at it, or writes it as a sign.
        ("a b\n", " \n", {}),
        ("a b\n", "\n", {"pre_tokenizer": METASPACE}),
        ("a b\n", "", {"pre_tokenizer": SPACES}),
        ("z a", "z", {"pre_tokenizer": METASPACE}),
        ("zab", "z", {"normalizer": PREPEND}),
        ("zzz", "zzz", {"normalizer": PREPEND}),
        # A prefix that the tokenizer adds is not counted, even if its vocabulary lacks it.
        ("ab", "", {"normalizer": {**PREPEND, "prepend": "▂"}}),
        ("azb", "z", {"normalizer": {**PREPEND, "prepend": "▂"}}),
        ("a\xe9b", "", {"normalizer": NFC}),
        ("a<Ω>b", "", {"added_tokens": [END]}),
        ("aΩ<Ω>Ω", "ΩΩ", {"added_tokens": [END]}),
    ],
)
def test_characters(unknown: str | None, text: str, lost: str, fields: dict[str, Any]) -> None:
    """Characters that vanish, and those that become the unknown token, are counted alike."""
    if unknown is not None and "added_tokens" in fields:
        fields = {"added_tokens": [{**END, "id": 6}]}
    known = set(text.replace("<Ω>", "<")) - set(lost)
    nothing = bool(lost) and not any(each.strip() for each in known)
    examples = tuple(dict.fromkeys(lost))
    expected = (len(lost), len(text), CHARACTERS, nothing, examples, unknown)
    assert found(letters(unknown, **fields), text) == expected


def test_symbols_with_endings_and_bytes() -> None:
    """A character is known if it is known only inside a word, or only at a word's end."""
    tokens = ["a</w>", "##a", "##b</w>", "<0xC3>", "<0xA9>"]
    model = bpe(tokens, continuing_subword_prefix="##", end_of_word_suffix="</w>")
    assert found(opened(document(model)), "abé")[:2] == (1, 3)
    assert found(opened(document({**model, "byte_fallback": True})), "abéè")[:2] == (1, 4)


def test_bytes_and_byte_level_know_everything() -> None:
    text = "naïve 😀 日本\n\t"
    for kind in ("bytes", "byte-level", "llama"):
        assert found(KINDS[kind], text)[:4] == (0, len(text), CHARACTERS, False)


WORDLEVEL = {"type": "WordLevel", "vocab": {"a": 0, "b": 1, "[UNK]": 2}, "unk_token": "[UNK]"}


@pytest.mark.parametrize(
    ("text", "unknown", "total", "examples"),
    [
        ("a b a", 0, 3, ()),
        ("a dog b dog fox", 3, 5, ("dog", "fox")),
        ("dog", 1, 1, ("dog",)),
        ("a [UNK]", 0, 2, ()),
        ("", 0, 0, ()),
    ],
)
def test_words(text: str, unknown: int, total: int, examples: tuple[str, ...]) -> None:
    """Words are counted for a table and for the library; the unknown token itself is known."""
    nothing = unknown > 0 and unknown == total
    expected = Coverage(unknown, total, "words", nothing, examples, "[UNK]")
    assert open_tokenizer("words", b"a\nb\n[UNK]\n").coverage(text) == expected
    assert opened(document(WORDLEVEL, pre_tokenizer=SPACES)).coverage(text) == expected


def test_pieces_of_words() -> None:
    assert found(KINDS["wordpiece"], "cats") == (0, 1, WORDS, False, (), "[UNK]")
    assert found(KINDS["wordpiece"], "dog") == (1, 1, WORDS, True, ("dog",), "[UNK]")


def test_pieces_of_unigram_models() -> None:
    model = {"type": "Unigram", "unk_id": 1, "vocab": [["a", -1.0], ["<?>", 0.0], ["日本", -1.0]]}
    tokenizer = opened(document(model))
    assert found(tokenizer, "a日本日日a本") == (3, 7, CHARACTERS, False, ("日", "本"), "<?>")


@pytest.mark.parametrize(
    "model",
    [
        {**WORDLEVEL, "unk_token": "<none>"},
        bpe(["a"], unk_token="<none>"),
        {"type": "Unigram", "unk_id": None, "vocab": [["a", -1.0]]},
    ],
)
def test_no_token_for_the_unknown(model: dict[str, Any]) -> None:
    """Text without a token raises our error, not the library's exception."""
    tokenizer = opened(document(model))
    assert tokenizer.encode("a") == [0]
    for action in (tokenizer.encode, tokenizer.coverage):
        with pytest.raises(InvalidInput, match="which has no unknown token"):
            action("z")
