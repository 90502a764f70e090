"""Read a tokenizer.json as JSON, without the library: its largest id, and settings for training.

A file may have settings for training or for batches of equal length, which would make the ids of a
text random, or truncate and pad them. They are switched off before the library reads the content;
the file itself does not change.
"""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from ancestral.arrays import shown
from ancestral.errors import InvalidInput
from ancestral.excerpts import cut
from ancestral.limits import TOKENIZER_BYTES

_IDS = 2**32
"""Limit of ids, which have 32 bits in the tokenizers library."""
_SAID = 200
"""Most characters of the library's error in a message."""
_BYTE = re.compile(r"<0x([0-9A-Fa-f]{2})>", re.ASCII)
Document = Mapping[str, Any]
"""Content of a tokenizer.json whose model is an object."""


def read_document(content: bytes) -> Document:
    """Parse a tokenizer.json.

    Raises:
        InvalidInput: the content is too large, is not JSON, or has no model.
    """
    if len(content) > TOKENIZER_BYTES:
        raise _refused(f"{len(content):,} bytes, more than {TOKENIZER_BYTES:,}")
    try:
        document = json.loads(content.decode("utf-8"))
    except (ValueError, RecursionError, MemoryError) as error:
        raise _refused(said(error)) from error
    if not isinstance(document, dict) or not isinstance(document.get("model"), dict):
        raise _refused("JSON without a model")
    return document


def number_of_ids(document: Document) -> int:
    """Return the largest id of a tokenizer.json plus one.

    Raises:
        InvalidInput: the model has no vocabulary, or an id is not an integer in 0 .. 2^32 - 1.
    """
    try:
        vocabulary = document["model"]["vocab"]
        # Unigram models have a list of pieces in the order of ids; other models have an object.
        ids = list(vocabulary.values() if isinstance(vocabulary, dict) else range(len(vocabulary)))
        ids += [token["id"] for token in document.get("added_tokens") or []]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise _refused(said(repr(error))) from error
    for i in ids:
        if type(i) is not int or not 0 <= i < _IDS:
            raise _refused(f"the id {shown(i)}, which is not an integer in 0 .. {_IDS - 1}")
    return 1 + max(ids, default=-1)


def switched_off(document: Document) -> list[str]:
    """List the settings that are ignored; empty if the file has none of them.

    >>> switched_off({"model": {"dropout": 0.3}, "padding": None})
    ['dropout 0.3']
    """
    model = document["model"]
    found = [f"{name} {shown(model[name])}" for name in ("dropout", "alpha") if model.get(name)]
    return found + [name for name in ("truncation", "padding") if document.get(name)]


def settled(document: Document) -> Document:
    """Return the tokenizer without these settings, so that a text always has the same ids, uncut.

    BPE's dropout skips merges at random. alpha and nbest_size control the sampling of a Unigram
    model's pieces; the library does not read them from a file in versions up to 0.23.
    """
    unread = ("alpha", "nbest_size")
    model = {name: value for name, value in document["model"].items() if name not in unread}
    model["dropout"] = None
    return {**document, "model": model, "truncation": None, "padding": None}


def shared_ids(document: Document) -> dict[int, str]:
    """Return the ids that several tokens of the vocabulary share, with the first token of each.

    The library decodes such an id to an arbitrary one of them, which varies from one opening of the
    file to the next.
    """
    vocabulary = document["model"].get("vocab")
    if not isinstance(vocabulary, dict):
        return {}
    first: dict[int, str] = {}
    return {i: first[i] for token, i in vocabulary.items() if first.setdefault(i, token) != token}


def unknown_token(document: Document) -> str | None:
    """Return the token for text that the vocabulary lacks, or None if there is no such token."""
    model = document["model"]
    token = model.get("unk_token")
    # Unigram models have a list of pieces, and give the index of the unknown one.
    if isinstance(model.get("vocab"), list):
        place = model.get("unk_id")
        token = None if place is None else model["vocab"][place][0]
    return None if token is None else str(token)


def decodes_with(decoder: Any, kind: str) -> bool:
    """Return whether a decoder of a tokenizer.json is, or has, one of a kind like ByteFallback."""
    if not isinstance(decoder, dict):
        return False
    parts = decoder.get("decoders") or []
    return decoder.get("type") == kind or any(decodes_with(part, kind) for part in parts)


def byte_of(token: str) -> int | None:
    """Return the byte that a token stands for, or None if it stands for text.

    >>> byte_of("<0xC3>"), byte_of("cat")
    (195, None)
    """
    found = _BYTE.fullmatch(token)
    return None if found is None else int(found[1], 16)


def repaired(tokens: Sequence[str]) -> list[str]:
    """Replace invalid UTF-8 in each run of byte tokens by the bytes of U+FFFD.

    There is one U+FFFD for each maximal part that begins a character without completing it, as with
    Python's `errors="replace"`. The library would replace every byte of a run with any fault. Valid
    runs and other tokens do not change, so the decoder treats them as usual.

    >>> repaired(["a", "<0xC3>", "<0xA9>", "<0xC3>"])
    ['a', '<0xC3>', '<0xA9>', '<0xEF>', '<0xBF>', '<0xBD>']

    References:
        The Unicode Standard, version 16, section 3.9, "U+FFFD Substitution of Maximal Subparts".
    """
    repaired: list[str] = []
    run = bytearray()
    for token in (*tokens, ""):
        byte = byte_of(token)
        if byte is not None:
            run.append(byte)
            continue
        text = run.decode(errors="replace").encode()
        repaired += [*(f"<0x{each:02X}>" for each in text), token]
        run.clear()
    return repaired[:-1]


def written(document: Document) -> bytes:
    """Return the JSON of a document.

    Raises:
        InvalidInput: the document is nested too deep.
    """
    try:
        return json.dumps(document).encode()
    except RecursionError as error:
        raise _refused("objects and lists nested too deep") from error


def said(error: object) -> str:
    """Return the message of an error on one line, cut if it is long."""
    return cut(" ".join(str(error).split()), _SAID)


def _refused(reason: object) -> InvalidInput:
    return InvalidInput(
        f"tokenizer.json: expected JSON with a model and its vocab, got {reason}; download it again"
    )
