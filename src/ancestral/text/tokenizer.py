"""How text becomes values and values text: the contract; bytes; words; text that streams.

Nothing is added to what is encoded: where a model begins is the model's own affair. Special tokens
that a text spells out are parsed as the library parses them.
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
"""The file of a bundle that a kind needs; bytes need none."""
_UNKNOWN = ("<unk>", "[UNK]")
BYTE_ORDER_MARK = "\N{ZERO WIDTH NO-BREAK SPACE}"
"""What editors write before a text as the mark of its encoding."""
_HALF = "\N{REPLACEMENT CHARACTER}"
"""What bytes that are not a character, or not yet, are decoded as."""


class Tokenizer(ABC):
    """Text to ids and back. Open one with `text.kinds.open_tokenizer`."""

    @property
    @abstractmethod
    def size(self) -> int:
        """Ids are 0 .. size - 1; some may stand for nothing."""

    def _encode(self, text: str) -> list[int]:
        return self._covered(text)[0]

    @abstractmethod
    def _covered(self, text: str) -> tuple[list[int], Coverage]:
        """The ids of a text, and how much of it the vocabulary knows."""

    @abstractmethod
    def decode(self, ids: Iterable[int]) -> str:
        """The text of ids, special tokens included; an id without a token is left out."""

    def begins_anew(self, ids: Sequence[int]) -> bool:
        """Whether these ids make the text that they make after others, but for blanks before it.

        A decoder may treat the first token or the first blanks of a text in a way of its own. Where
        something is left of these ids, what follows them is decoded rightly without those before.
        """
        return bool(self.decode(ids))

    @final
    def encode(self, text: str) -> list[int]:
        """The ids of a text, no special token added.

        What the vocabulary lacks is left out or becomes the unknown token, as the tokenizer has it:
        `coverage` counts it.

        Raises:
            InvalidInput: the text is no Unicode text, or holds what has no id.
        """
        return self._encode(_checked(text))

    @final
    def encode_with_coverage(self, text: str) -> tuple[list[int], Coverage]:
        """The ids of a text, and how much of it the vocabulary knows.

        Raises:
            InvalidInput: as by `encode`.
        """
        return self._covered(_checked(text))

    @final
    def coverage(self, text: str) -> Coverage:
        """How much of a text the vocabulary knows.

        Raises:
            InvalidInput: as by `encode`.
        """
        return self.encode_with_coverage(text)[1]


@final
class Bytes(Tokenizer):
    """A value is a byte of the text in UTF-8.

    >>> Bytes().encode("hé"), Bytes().decode([104, 195, 169])
    ([104, 195, 169], 'hé')
    """

    @property
    def size(self) -> int:
        """256."""
        return 256

    def _encode(self, text: str) -> list[int]:
        return list(text.encode())

    def _covered(self, text: str) -> tuple[list[int], Coverage]:
        return self._encode(text), of_characters(text, (), None)

    def decode(self, ids: Iterable[int]) -> str:
        return bytes(i for i in ids if 0 <= i < 256).decode(errors="replace")


@final
class Words(Tokenizer):
    r"""A value is a word of a table: what stands between blanks.

    >>> table = Words("a\nrose\nis\n")
    >>> table.encode("a rose  is"), table.decode([1, 2, 1])
    ([0, 1, 2], 'rose is rose')
    """

    def __init__(self, table: str) -> None:
        """Read a table: a word a line, whose number, from 0, is its id.

        A byte order mark before the first word is dropped.

        Raises:
            InvalidInput: a line that is no word, or a word that stands there twice.
        """
        lines = table.removeprefix(BYTE_ORDER_MARK).removesuffix("\n").split("\n")
        self._words = [line.removesuffix("\r") for line in lines]
        self._ids: dict[str, int] = {}
        for i, word in enumerate(self._words):
            place = f"vocab.txt, line {i + 1}"
            if word.split() != [word]:
                raise InvalidInput(f"{place}: expected a word without blanks, got {shown(word)}")
            if (first := self._ids.setdefault(word, i)) != i:
                raise InvalidInput(f"{place}: {shown(word)} stands in line {first + 1} too")
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
                f"text: expected words of the table, which has neither {' nor '.join(_UNKNOWN)}, "
                f"got {', '.join(map(shown, dict.fromkeys(unknown[:8])))}"
            )
        read_as = None if self._unknown is None else self._words[self._unknown]
        ids = [self._ids.get(word, self._unknown or 0) for word in words]
        return ids, of_words(len(ids), unknown, read_as)

    def decode(self, ids: Iterable[int]) -> str:
        return " ".join(self._words[i] for i in ids if 0 <= i < len(self._words))


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


def _checked(text: str) -> str:
    """The text, if it is Unicode text."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InvalidInput(
            f"text: expected Unicode characters, got {text[error.start]!r} at {error.start}: "
            f"half of a character; was it read in another encoding than UTF-8?"
        ) from error
    return text
