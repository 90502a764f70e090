"""/v1/ancestral/tokenize and detokenize: text to ids and back."""

from collections.abc import Sequence

import numpy as np
from pydantic import BaseModel, ConfigDict

from ancestral.engine import inputs
from ancestral.serve.api.arrays import Array, Values, array, check_size
from ancestral.serve.api.jobs import Fields, JobBody, Target, Work
from ancestral.serve.calls import Report
from ancestral.serve.refused import Refused
from ancestral.serve.served import Served
from ancestral.text.tokenizer import TextStream, Tokenizer

MOST_IDS = 2**20
"""Most ids of a text in one request."""
_HELD = 8
"""Ids that may be held back at the end of an incomplete character, of 4 bytes at most. More of them
are not text, and decoding all of them again for each id would take quadratic time."""


class TokenizeBody(JobBody):
    """Body of /v1/ancestral/tokenize."""

    text: str
    """Text to tokenize; special tokens are not added."""


class TokenizeAnswer(BaseModel):
    """Ids of a text."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    ids: Values
    """Ids, [t]."""
    tokens: list[str]
    """Text that each id adds, [t]; empty for an id that ends within a character."""


class DetokenizeBody(JobBody):
    """Body of /v1/ancestral/detokenize."""

    ids: Array
    """Ids of a text, [t], in 0 .. levels - 1."""


class DetokenizeAnswer(BaseModel):
    """Text of ids."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    text: str
    """The text; ids without a token add nothing."""


def tokenizer_of(served: Served) -> Tokenizer:
    """Return the tokenizer of a bundle.

    Raises:
        Refused: the bundle has no text.
    """
    if served.tokenizer is None:
        raise Refused(
            400,
            f"model: expected a bundle with text, got {served.name!r}, which has none; pass its "
            f"events as `x` to log_prob",
            code="no_text",
            param="model",
        )
    return served.tokenizer


def pieces(tokenizer: Tokenizer, ids: Sequence[int]) -> list[str]:
    """Return the text that each id adds; joined they are the text of all ids.

    An id that ends within a character adds no text, and the one that completes it adds all of it.
    """
    stream, found, held = TextStream(tokenizer), [], 0
    for value in ids:
        text = stream.push([value])
        held = 0 if text else held + 1
        if held > _HELD:
            text, held = stream.finish(), 0
        found.append(text)
    if found:
        found[-1] += stream.finish()
    return found


def tokenize(target: Target, body: TokenizeBody) -> Work:
    """Return the ids of a text.

    Raises:
        InvalidInput: the tokenizer refuses the text.
        Refused: the bundle has no text.
    """
    tokenizer = tokenizer_of(target.served)
    ids = tokenizer.encode(body.text)
    check_size("text", len(ids), MOST_IDS)
    return _known({"ids": np.array(ids, np.int64), "tokens": pieces(tokenizer, ids)})


def detokenize(target: Target, body: DetokenizeBody) -> Work:
    """Return the text of ids.

    Raises:
        InvalidInput: they are not ids of the model, or are too many.
        Refused: the bundle has no text.
    """
    tokenizer, levels = tokenizer_of(target.served), target.served.manifest.data.levels
    given = array("ids", body.ids)
    check_size("ids", given.size, MOST_IDS)
    ids = inputs.ids("ids", given, levels)
    return _known({"text": tokenizer.decode(ids.tolist())})


def _known(fields: Fields) -> Work:
    """Return work that is done: its arguments were checked, and answered, in a thread."""

    async def run(report: Report | None) -> Fields:
        return fields

    return Work(run, 0)
