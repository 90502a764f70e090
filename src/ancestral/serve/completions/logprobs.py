"""The `logprobs` of a choice: what its tokens are, where they are, and how probable they were."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel

from ancestral.serve.completions.scores import Scores
from ancestral.text.tokenizer import INCOMPLETE, TextStream, Tokenizer

IMPOSSIBLE = -9999.0
"""Number that stands for -inf, which JSON does not have."""


class Logprobs(BaseModel):
    """The tokens of a choice and their log-probabilities under the model, in nats.

    Temperature, filters, bias and penalties do not change them. -inf is written as -9999.

    Attributes:
        tokens: text of each token.
        token_logprobs: log-probability of each token given those before it; null where the model
            gives none: the start token, or the first token of a model without a start symbol.
        top_logprobs: the most probable tokens at each position, and the token itself, by their
            texts. If tokens have the same text, the entry is that of the most probable one; else
            the entry of the token itself is its `token_logprobs`.
        text_offset: position of each token in the text of the choice, in characters. A token whose
            text is cut, or not part of the text, has the position at which it would be.
        ids: id of each token.
        log_q: log-probability of each token under the distribution that it was drawn from, in nats;
            null for those of the prompt. Only if the request asks for it.
    """

    tokens: list[str]
    token_logprobs: list[float | None]
    top_logprobs: list[dict[str, float] | None]
    text_offset: list[int]
    ids: list[int]
    log_q: list[float | None] | None = None

    @classmethod
    def joined(cls, parts: Sequence["Logprobs"]) -> "Logprobs":
        """Join those of consecutive parts of a choice."""
        found = parts[0].model_copy()
        for name in found.model_fields_set:
            setattr(found, name, [value for part in parts for value in getattr(part, name)])
        return found


class Offsets:
    """Positions of tokens in a text, as they come."""

    def __init__(self, tokenizer: Tokenizer, before: Sequence[int]) -> None:
        """Begin a text.

        Args:
            tokenizer: tokenizer of the bundle.
            before: tokens before the text, which are not part of it.
        """
        self._stream, self._sure, self._at = TextStream(tokenizer), 0, 0
        self._begin = 0
        self._push(before)
        self._begin = self._at

    def push(self, token: int) -> int:
        """Add a token, and return its position."""
        at = self._at
        self._push([token])
        # The first token may complete a character that began before the text.
        return max(0, at - self._begin)

    def _push(self, ids: Sequence[int]) -> None:
        new = self._stream.push(ids)
        self._sure += len(new)
        # The tokens of a character all have the position of the character.
        held = "" if new else self._stream.pending().rstrip(INCOMPLETE)
        self._at = self._sure + len(held)


class TokenWriter:
    """Writer of the `logprobs` of one choice, part by part."""

    def __init__(self, offsets: Offsets, text_of: Callable[[int], str], *, log_q: bool) -> None:
        """Begin a choice.

        Args:
            offsets: positions of the tokens.
            text_of: function that returns the text of an id.
            log_q: whether to write the log-probabilities under the distribution drawn from.
        """
        self._offsets, self._text_of, self._log_q = offsets, text_of, log_q

    def write(self, scores: Scores) -> Logprobs:
        """Return the `logprobs` of the next tokens."""
        own = _numbers(scores.log_p)
        size = len(own)
        free = range(scores.unscored, size)
        found = Logprobs(
            tokens=[self._text_of(each) for each in scores.ids],
            token_logprobs=[own[i] if i in free else None for i in range(size)],
            top_logprobs=[self._top(scores, i, own[i]) if i in free else None for i in range(size)],
            text_offset=[self._offsets.push(each) for each in scores.ids],
            ids=list(scores.ids),
        )
        if self._log_q:
            found.log_q = [None] * size if scores.log_q is None else [*_numbers(scores.log_q)]
        return found

    def _top(self, scores: Scores, i: int, own: float) -> dict[str, float]:
        """Return the most probable tokens at a position, and the token itself."""
        ids, nats = scores.top_ids[i].tolist(), _numbers(scores.top_log_p[i])
        # The token itself is first, so that its number is kept and not one that rounds elsewhere.
        found = {self._text_of(scores.ids[i]): own}
        for each, number in zip(ids, nats, strict=True):
            text = self._text_of(each)
            if each != scores.ids[i]:
                found[text] = max(number, found.get(text, number))
        return found


def _numbers(nats: NDArray[np.float32]) -> list[float]:
    """Return log-probabilities as numbers that JSON has."""
    found: list[float] = np.where(np.isneginf(nats), IMPOSSIBLE, nats.astype(np.float64)).tolist()
    return found
