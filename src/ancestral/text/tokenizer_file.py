"""A tokenizer.json read as JSON, without the library: its largest id, and settings for training.

A file may hold settings that are meant for training or for batches of equal length. They would make
the ids of a text random, or cut and pad them; they are switched off before the library reads the
file. The file itself stays as it is.
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
"""Of the tokenizers library, which has ids of 32 bits."""
_SAID = 200
"""Characters of an error that a message repeats."""
_BYTE = re.compile(r"<0x([0-9A-Fa-f]{2})>", re.ASCII)
Document = Mapping[str, Any]
"""A tokenizer.json whose model is an object."""


def read_document(content: bytes) -> Document:
    """The JSON of a tokenizer.json.

    Raises:
        InvalidInput: the content is not JSON, or has no model.
    """
    if len(content) > TOKENIZER_BYTES:
        raise _refused(f"{len(content):,} bytes, more than {TOKENIZER_BYTES:,}")
    try:
        document = json.loads(content.decode("utf-8"))
    except (ValueError, RecursionError, MemoryError) as error:
        raise _refused(said(error)) from error
    if not isinstance(document, dict) or not isinstance(document.get("model"), dict):
        raise _refused("no object with a model")
    return document


def number_of_ids(document: Document) -> int:
    """The largest id of a tokenizer.json, and one.

    Raises:
        InvalidInput: the model has no vocabulary.
    """
    try:
        vocabulary = document["model"]["vocab"]
        # Unigram models have a list of pieces in the order of their ids, others a table.
        ids = list(vocabulary.values() if isinstance(vocabulary, dict) else range(len(vocabulary)))
        ids += [token["id"] for token in document.get("added_tokens") or []]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise _refused(said(repr(error))) from error
    for i in ids:
        if type(i) is not int or not 0 <= i < _IDS:
            raise _refused(f"the id {shown(i)}, which is not an integer in 0 .. {_IDS - 1}")
    return 1 + max(ids, default=-1)


def switched_off(document: Document) -> list[str]:
    """The settings that are not used, in words; none where the file has none of them.

    >>> switched_off({"model": {"dropout": 0.3}, "padding": None})
    ['dropout 0.3']
    """
    model = document["model"]
    found = [f"{name} {shown(model[name])}" for name in ("dropout", "alpha") if model.get(name)]
    return found + [name for name in ("truncation", "padding") if document.get(name)]


def settled(document: Document) -> Document:
    """The same tokenizer without these settings: a text always has the same ids, and all of them.

    BPE's dropout skips merges at random. alpha and nbest_size are how the library names the
    sampling of a Unigram model's pieces; its versions up to 0.23 do not read them from a file.
    """
    unread = ("alpha", "nbest_size")
    model = {name: value for name, value in document["model"].items() if name not in unread}
    model["dropout"] = None
    return {**document, "model": model, "truncation": None, "padding": None}


def shared_ids(document: Document) -> dict[int, str]:
    """Ids that several tokens of the vocabulary have, each with the first token of the file.

    The library decodes such an id as any one of them, another one each time that it opens the file.
    """
    vocabulary = document["model"].get("vocab")
    if not isinstance(vocabulary, dict):
        return {}
    first: dict[int, str] = {}
    return {i: first[i] for token, i in vocabulary.items() if first.setdefault(i, token) != token}


def unknown_token(document: Document) -> str | None:
    """The token that stands for what the vocabulary lacks; None where there is none."""
    model = document["model"]
    token = model.get("unk_token")
    # Unigram models have a list of pieces and name the unknown one by its place.
    if isinstance(model.get("vocab"), list):
        place = model.get("unk_id")
        token = None if place is None else model["vocab"][place][0]
    return None if token is None else str(token)


def decodes_with(decoder: Any, kind: str) -> bool:
    """Whether a decoder of a tokenizer.json is of this kind or has one, ByteFallback say."""
    if not isinstance(decoder, dict):
        return False
    parts = decoder.get("decoders") or []
    return decoder.get("type") == kind or any(decodes_with(part, kind) for part in parts)


def byte_of(token: str) -> int | None:
    """The byte that a token stands for; None where it stands for text.

    >>> byte_of("<0xC3>"), byte_of("cat")
    (195, None)
    """
    found = _BYTE.fullmatch(token)
    return None if found is None else int(found[1], 16)


def repaired(tokens: Sequence[str]) -> list[str]:
    """The tokens with each run of bytes replaced by one that is UTF-8.

    Bytes that are not UTF-8 become U+FFFD as in Python's `errors="replace"`: one for each maximal
    part that begins a character and does not end it. The library would replace every byte of a run
    that has a fault anywhere. Runs that are UTF-8 stay as they are, and so does other text, so that
    the decoder does with them what it always does.

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
    """The JSON of a document.

    Raises:
        InvalidInput: it is nested too deep.
    """
    try:
        return json.dumps(document).encode()
    except RecursionError as error:
        raise _refused("objects and lists too deep inside each other") from error


def said(error: object) -> str:
    """What an error says, on one line, cut where it is long."""
    return cut(" ".join(str(error).split()), _SAID)


def _refused(reason: object) -> InvalidInput:
    return InvalidInput(
        f"tokenizer.json: expected JSON with a model and its vocab, got {reason}: fetch it anew"
    )
