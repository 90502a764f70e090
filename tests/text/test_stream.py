"""Ids that are decoded one after another give the text of all of them, with every decoder."""

import random
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ancestral.text.tokenizer import Bytes, TextStream, Tokenizer
from tests.tokenizer_toys import DECODERS, PIECES, every_kind

LOST = "\N{REPLACEMENT CHARACTER}"
KINDS = every_kind()
JOINED = [name for name in DECODERS if name != "not joined"]
RUNS = ("😀", "é", "▁", " ", "  ", "x", LOST, "\n")
"""Text for runs of byte tokens, which may be cut anywhere."""


def streamed(tokenizer: Tokenizer, ids: list[int]) -> list[str]:
    stream = TextStream(tokenizer)
    return [*(stream.push([i]) for i in ids), stream.finish()]


def byte_ids(content: bytes | str) -> list[int]:
    """Return ids of byte tokens in the toys with bytes."""
    return [1 + byte for byte in (content.encode() if isinstance(content, str) else content)]


def piece_ids(*pieces: str) -> list[int]:
    return [257 + PIECES.index(piece) for piece in pieces]


@pytest.mark.parametrize("kind", JOINED)
def test_an_emoji_and_a_lone_byte(kind: str) -> None:
    """A lone byte becomes one character, in the text and in the stream."""
    ids = [*piece_ids("▁the"), *byte_ids("😀"), *byte_ids(b"\x9f")]
    text = KINDS[kind].decode(ids)
    assert text.lstrip() == f"the😀{LOST}"
    assert "".join(streamed(KINDS[kind], ids)) == text


@pytest.mark.parametrize(
    ("content", "text"),
    [
        # Table 3-8 of the Unicode Standard, section 3.9: maximal subparts.
        (b"\xc0\xaf\xe0\x80\xbf\xf0\x81\x82A", LOST * 8 + "A"),
        (b"\xed\xa0\x80\xed\xbf\xbf\xed\xafA", LOST * 8 + "A"),
        (b"\xf4\x91\x92\x93\xffA\x80\xbfB", LOST * 5 + "A" + LOST * 2 + "B"),
        (b"\xe1\x80\xe2\xf0\x91\x92\xf1\xbfA", LOST * 4 + "A"),
        ("é".encode() + b"\xe2\x96", "é" + LOST),
        (b"\xff" + "é😀".encode(), LOST + "é😀"),
    ],
)
def test_each_maximal_part_is_replaced_once(content: bytes, text: str) -> None:
    assert KINDS["gemma"].decode(byte_ids(content)) == text
    assert "".join(streamed(KINDS["gemma"], byte_ids(content))) == text
    assert Bytes().decode(list(content)) == text


@pytest.mark.parametrize(
    ("kind", "ids", "text"),
    [
        ("llama", byte_ids(" x"), "x"),
        ("llama", [*byte_ids(" "), *piece_ids("▁cat")], " cat"),
        ("llama", [*piece_ids("▁the"), *byte_ids("  "), *piece_ids("s")], "the  s"),
        ("llama", [*byte_ids(b"\xff"), *piece_ids("▁cat")], f"{LOST} cat"),
        ("llama", [*piece_ids("▁the"), *byte_ids(b"\xff "), *piece_ids("▁")], f"the{LOST}  "),
        ("gemma", [*byte_ids(" "), *piece_ids("▁cat")], "  cat"),
        ("two blanks", [*piece_ids("a"), *byte_ids("  "), *piece_ids("t")], "a  t"),
        ("two blanks", piece_ids("a", "▁", "▁", "t"), "a  t"),
        ("metaspace", [*piece_ids("▁the"), *byte_ids("x▁y")], "thex y"),
        ("metaspace", byte_ids("▁x"), "x"),
        ("not joined", [*piece_ids("▁the"), *byte_ids("é")], "the<0xC3><0xA9>"),
    ],
)
def test_blanks_next_to_bytes(kind: str, ids: list[int], text: str) -> None:
    """Blanks next to byte tokens are kept or stripped at the start, in the middle, at the end."""
    assert KINDS[kind].decode(ids) == text
    assert "".join(streamed(KINDS[kind], ids)) == text


def sequences(tokenizer: Tokenizer, count: int) -> Iterator[list[int]]:
    """Yield ids of every kind, also without a token, and runs of bytes, whole and broken."""
    rng = random.Random(7)
    for _ in range(count):
        ids: list[int] = []
        while len(ids) < rng.randrange(1, 30):
            match rng.randrange(4):
                case 0:
                    ids.append(rng.randrange(tokenizer.size + 2))
                case 1:
                    ids.append(max(0, tokenizer.size - 1 - rng.randrange(len(PIECES))))
                case 2:
                    run = "".join(rng.choices(RUNS, k=rng.randrange(1, 4)))
                    ids += byte_ids(run) if tokenizer.size > 256 else run.encode()
                case _:
                    run = "".join(rng.choices(RUNS, k=2))
                    ids += byte_ids(run.encode()[rng.randrange(3) : -rng.randrange(1, 3)])
        yield ids


@pytest.mark.parametrize("kind", KINDS)
def test_parts_make_the_whole(kind: str) -> None:
    """The text is the same for ids one by one, in parts of any length, and all together."""
    tokenizer, rng = KINDS[kind], random.Random(1)
    for ids in sequences(tokenizer, 100):
        text = tokenizer.decode(ids)
        assert "".join(streamed(tokenizer, ids)) == text, ids
        stream, parts, start = TextStream(tokenizer), [], 0
        while start < len(ids):
            end = start + rng.randrange(1, 6)
            parts.append(stream.push(ids[start:end]))
            start = end
        assert "".join([*parts, stream.finish()]) == text, ids
        whole = TextStream(tokenizer)
        assert whole.push(ids) + whole.finish() == text, ids


@given(text=st.text(st.characters(exclude_categories=["Cs"]), max_size=20))
@settings(max_examples=60, deadline=None)
def test_text_comes_back(text: str) -> None:
    """Lossless tokenizers give the text back; "▁" comes back as the blank that it stands for."""
    for kind in ("llama", "byte-level", "bytes"):
        ids = KINDS[kind].encode(text)
        expected = text.replace("▁", " ") if kind == "llama" else text
        assert KINDS[kind].decode(ids) == expected
        assert "".join(streamed(KINDS[kind], ids)) == expected


def test_no_half_character_is_returned() -> None:
    text = "a 😀 café"
    for kind in ("byte-level", "llama", "metaspace", "bytes"):
        ids = KINDS[kind].encode(text)
        parts = streamed(KINDS[kind], ids)
        assert "".join(parts) == text
        assert not any(LOST in part for part in parts)
        # The four bytes of the face come as several tokens and are returned together.
        assert len(ids) > len([part for part in parts if part])
        assert parts[-1] == ""


def test_words_come_one_by_one() -> None:
    """Words keep their blanks: a decoder that strips the first blank does so only once."""
    assert streamed(KINDS["llama"], piece_ids("▁the", "▁cat", "▁"))[:3] == ["the", " cat", " "]
    assert streamed(KINDS["words"], [0, 1, 2])[:3] == ["the", " cat", " sat"]


def test_a_broken_end_is_returned_by_finish() -> None:
    broken = "é".encode()[0]
    assert streamed(Bytes(), [104, broken]) == ["h", "", LOST]


@pytest.mark.parametrize(
    ("kind", "ids", "most"),
    [("words", [0, 1, 2] * 50, 2), ("llama", byte_ids("日" * 50), 6), ("bytes", [104] * 150, 2)],
)
def test_little_is_decoded_again(
    monkeypatch: pytest.MonkeyPatch, kind: str, ids: list[int], most: int
) -> None:
    """The cost of a push does not depend on the ids before it."""
    implementation = type(KINDS[kind])
    counts: list[int] = []
    decode = implementation.decode

    def counted(self: Tokenizer, some: list[int]) -> str:
        counts.append(len(some))
        return decode(self, some)

    monkeypatch.setattr(implementation, "decode", counted)
    streamed(KINDS[kind], ids)
    assert max(counts) == most
