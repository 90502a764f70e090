"""Small tokenizer files, one for each way of decoding."""

import json
from collections.abc import Sequence
from typing import Any

from ancestral.text.kinds import open_tokenizer
from ancestral.text.tokenizer import Tokenizer
from tests.text_toys import tokenizer_json

PIECES = ("▁", "▁the", "▁cat", "na", "s", "a", "t", "n", "v", "e", "</s>", "▁▁")
"""Pieces of the tokenizers with bytes, from id 257 on, after <unk> and <0x00> .. <0xFF>."""
TO_BLANK = {"type": "Replace", "pattern": {"String": "▁"}, "content": " "}
BYTES = {"type": "ByteFallback"}
FUSE = {"type": "Fuse"}
METASPACE = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": True}


def strip(start: int, stop: int = 0) -> dict[str, Any]:
    return {"type": "Strip", "content": " ", "start": start, "stop": stop}


DECODERS: dict[str, Sequence[dict[str, Any]]] = {
    "llama": (TO_BLANK, BYTES, FUSE, strip(1)),
    "gemma": (TO_BLANK, BYTES, FUSE),
    "metaspace": (BYTES, METASPACE),
    "two blanks": (TO_BLANK, BYTES, FUSE, strip(2)),
    "blank of a token": (TO_BLANK, BYTES, strip(1)),
    "bytes last": (TO_BLANK, BYTES),
    "not joined": (TO_BLANK, FUSE, strip(1)),
}


def document(model: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """Return a tokenizer.json of a model; every other field is None unless it is given."""
    names = ("truncation", "padding", "normalizer", "pre_tokenizer", "post_processor", "decoder")
    return {"version": "1.0", "added_tokens": [], "model": model} | dict.fromkeys(names) | fields


def bpe(tokens: Sequence[str], merges: Sequence[Sequence[str]] = (), **fields: Any) -> Any:
    return {
        "type": "BPE",
        "vocab": {token: i for i, token in enumerate(tokens)},
        "merges": list(merges),
        **fields,
    }


def with_dropout(rate: float) -> bytes:
    """Return the byte-level tokenizer of the text toy with dropout, which makes ids random."""
    values = json.loads(tokenizer_json())
    values["model"]["dropout"] = rate
    return json.dumps(values).encode()


def opened(values: dict[str, Any]) -> Tokenizer:
    return open_tokenizer("tokenizers", json.dumps(values).encode())


def with_bytes(decoder: str) -> Tokenizer:
    """Return a tokenizer like Llama 2's: a sign for blanks, bytes for unknown characters."""
    vocab = [["<unk>", 0.0], *([f"<0x{i:02X}>", -20.0] for i in range(256))]
    vocab += [[piece, -3.0] for piece in PIECES]
    model = {"type": "Unigram", "unk_id": 0, "vocab": vocab, "byte_fallback": True}
    to_sign = {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}
    first = {"type": "Prepend", "prepend": "▁"}
    return opened(
        document(
            model,
            normalizer={"type": "Sequence", "normalizers": [first, to_sign]},
            decoder={"type": "Sequence", "decoders": list(DECODERS[decoder])},
        )
    )


def every_kind() -> dict[str, Tokenizer]:
    """Return tokenizers by name: with bytes and every decoder, byte-level, words, word pieces."""
    pieces = {"[UNK]": 0, "the": 1, "cat": 2, "##s": 3, "##t": 4, ".": 5, "not": 6}
    wordpiece = {
        "type": "WordPiece",
        "unk_token": "[UNK]",
        "continuing_subword_prefix": "##",
        "max_input_chars_per_word": 100,
        "vocab": pieces,
    }
    decoder = {"type": "WordPiece", "prefix": "##", "cleanup": True}
    endings = ["a</w>", "b</w>", "a", "b", "ab</w>"]
    return {
        **{name: with_bytes(name) for name in DECODERS},
        "byte-level": open_tokenizer("tokenizers", tokenizer_json()),
        "wordpiece": opened(document(wordpiece, decoder=decoder)),
        "word ends": opened(
            document(bpe(endings), decoder={"type": "BPEDecoder", "suffix": "</w>"})
        ),
        "no decoder": opened(document(bpe(["a", "b", "é", "▁"]))),
        "bytes": open_tokenizer("bytes", b""),
        "words": open_tokenizer("words", "the\ncat\nsat\n�\ndog�\n".encode()),
    }
