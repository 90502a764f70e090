"""The text of ids that come one after another."""

from collections.abc import Sequence

from ancestral.text.tokenizer import Tokenizer

_HALF = "\N{REPLACEMENT CHARACTER}"
"""What bytes that are not a character, or not yet, are decoded as."""


class TextStream:
    """The text of ids that come one after another, without half a character.

    What ends in bytes that are not a character yet is held back until the rest has come. All the
    parts make `decode` of all the ids.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._ids: list[int] = []
        # The text of the ids before `_told` has been returned. Text is decoded from `_first` on,
        # where a part begins that a decoder reads as it does in the middle, but for blanks.
        self._first = self._told = 0

    def push(self, ids: Sequence[int]) -> str:
        """The text that is certain now that these ids have come too."""
        self._ids += ids
        text = self._untold()
        if not text or text.endswith(_HALF):
            return ""
        if self._tokenizer.begins_anew(self._ids[self._told :]):
            self._first = self._told
        self._told = len(self._ids)
        return text

    def finish(self) -> str:
        """What was held back."""
        text = self._untold()
        self._first = self._told = len(self._ids)
        return text

    def _untold(self) -> str:
        before = self._tokenizer.decode(self._ids[self._first : self._told])
        return self._tokenizer.decode(self._ids[self._first :])[len(before) :]
