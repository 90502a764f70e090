"""Convert text to values and back: the interface, bytes, words, and streamed text.

Encoding adds no special tokens: a model handles its own start. Special tokens that are spelled out
in a text are parsed as the `tokenizers` library parses them.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, final

from ancestral.arrays import shown
from ancestral.errors import InvalidInput
from ancestral.text.coverage import Coverage, of_characters, of_words

TokenizerKind = Literal["bytes", "tokenizers", "words"]
TOKENIZER_FILES: Mapping[TokenizerKind, str] = {
    "tokenizers": "tokenizer.json",
    "words": "vocab.txt",
}
"""File in a bundle that each kind needs; bytes need no file."""
_UNKNOWN = ("<unk>", "[UNK]")
BYTE_ORDER_MARK = "\N{ZERO WIDTH NO-BREAK SPACE}"
"""Character that some editors write before a text to mark its encoding."""
INCOMPLETE = "\N{REPLACEMENT CHARACTER}"
"""Character that stands for bytes that are invalid or not yet complete."""


class Tokenizer(ABC):
    """Converter of text to ids and back. Open one with `text.kinds.open_tokenizer`."""

    @property
    @abstractmethod
    def size(self) -> int:
        """Number of ids, which are 0 .. size - 1; some may have no token."""

    def _encode(self, text: str) -> list[int]:
        return self._covered(text)[0]

    @abstractmethod
    def _covered(self, text: str) -> tuple[list[int], Coverage]:
        """Return the ids of a text, and its coverage by the vocabulary."""

    @abstractmethod
    def decode(self, ids: Iterable[int]) -> str:
        """Return the text of ids, including special tokens; ids without a token are left out."""

    def begins_anew(self, ids: Sequence[int]) -> bool:
        """Return whether these ids decode the same after others, except for leading spaces.

        A decoder may treat the first token or the first spaces of a text specially. If these ids
        give any text, the ids after them are decoded correctly without the ids before them.
        """
        return bool(self.decode(ids))

    @final
    def encode(self, text: str) -> list[int]:
        """Return the ids of a text, without adding special tokens.

        Text that the vocabulary lacks is dropped or becomes the unknown token, as the tokenizer
        defines; `coverage` counts it.

        Raises:
            InvalidInput: the text has a lone surrogate, or the tokenizer refuses unknown text.
        """
        return self._encode(_checked(text))

    @final
    def encode_with_coverage(self, text: str) -> tuple[list[int], Coverage]:
        """Return the ids of a text, and its coverage by the vocabulary.

        Raises:
            InvalidInput: as in `encode`.
        """
        return self._covered(_checked(text))

    @final
    def coverage(self, text: str) -> Coverage:
        """Return how much of a text the vocabulary covers.

        Raises:
            InvalidInput: as in `encode`.
        """
        return self.encode_with_coverage(text)[1]


@final
class Bytes(Tokenizer):
    """Tokenizer whose values are the bytes of the text in UTF-8.

    >>> Bytes().encode("hé"), Bytes().decode([104, 195, 169])
    ([104, 195, 169], 'hé')
    """

    @property
    def size(self) -> int:
        """Number of ids: 256."""
        return 256

    def _encode(self, text: str) -> list[int]:
        return list(text.encode())

    def _covered(self, text: str) -> tuple[list[int], Coverage]:
        return self._encode(text), of_characters(text, (), None)

    def decode(self, ids: Iterable[int]) -> str:
        return bytes(i for i in ids if 0 <= i < 256).decode(errors="replace")


@final
class Words(Tokenizer):
    r"""Tokenizer whose values are words of a table; whitespace separates the words of a text.

    >>> table = Words("a\nrose\nis\n")
    >>> table.encode("a rose  is"), table.decode([1, 2, 1])
    ([0, 1, 2], 'rose is rose')
    """

    def __init__(self, table: str) -> None:
        """Read a table with a word per line; the number of the line, from 0, is the id.

        A byte order mark before the first word is dropped.

        Raises:
            InvalidInput: a line is not a word, or a word occurs twice.
        """
        lines = table.removeprefix(BYTE_ORDER_MARK).removesuffix("\n").split("\n")
        self._words = [line.removesuffix("\r") for line in lines]
        self._ids: dict[str, int] = {}
        for i, word in enumerate(self._words):
            place = f"vocab.txt, line {i + 1}"
            if word.split() != [word]:
                raise InvalidInput(f"{place}: expected a word without blanks, got {shown(word)}")
            if (first := self._ids.setdefault(word, i)) != i:
                raise InvalidInput(
                    f"{place}: expected each word once, got {shown(word)}, which is also in line "
                    f"{first + 1}"
                )
        self._unknown = next((self._ids[each] for each in _UNKNOWN if each in self._ids), None)

    @property
    def size(self) -> int:
        """Number of words."""
        return len(self._words)

    def _covered(self, text: str) -> tuple[list[int], Coverage]:
        words = text.split()
        unknown = [word for word in words if word not in self._ids]
        if unknown and self._unknown is None:
            raise InvalidInput(
                f"text: expected words of vocab.txt, which has neither {' nor '.join(_UNKNOWN)}, "
                f"got {', '.join(map(shown, dict.fromkeys(unknown[:8])))}"
            )
        read_as = None if self._unknown is None else self._words[self._unknown]
        ids = [self._ids.get(word, self._unknown or 0) for word in words]
        return ids, of_words(len(ids), unknown, read_as)

    def decode(self, ids: Iterable[int]) -> str:
        return " ".join(self._words[i] for i in ids if 0 <= i < len(self._words))


class TextStream:
    """Text of ids that arrive one after another, in parts without incomplete characters.

    Text that ends in an incomplete character is held back until the rest arrives. The joined parts
    are equal to `decode` of all ids.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._ids: list[int] = []
        # The text of the ids before `_returned` has been returned. Decoding starts at `_first`, the
        # start of a part that is decoded as in the middle of the text, except for leading spaces.
        self._first = self._returned = 0

    def push(self, ids: Sequence[int]) -> str:
        """Add ids, and return the new text that later ids cannot change."""
        self._ids += ids
        text = self.pending()
        if not text or text.endswith(INCOMPLETE):
            return ""
        if self._tokenizer.begins_anew(self._ids[self._returned :]):
            self._first = self._returned
        self._returned = len(self._ids)
        return text

    def finish(self) -> str:
        """Return the text that was held back."""
        text = self.pending()
        self._first = self._returned = len(self._ids)
        return text

    def pending(self) -> str:
        """Return the text that is held back, which may end in an incomplete character."""
        before = self._tokenizer.decode(self._ids[self._first : self._returned])
        return self._tokenizer.decode(self._ids[self._first :])[len(before) :]


def _checked(text: str) -> str:
    """Return the text; refuse lone surrogates."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InvalidInput(
            f"text: expected Unicode characters, got a lone surrogate {text[error.start]!r} at "
            f"position {error.start}; read the text as UTF-8"
        ) from error
    return text
