"""How text becomes values and values text: bytes, tokenizers of Hugging Face's library, words.

Nothing is added to what is encoded: where a model begins is the model's own affair. Special tokens
that a text spells out are parsed as the library parses them.
"""

import json
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, final

from ancestral.errors import BackendUnavailable, InvalidInput

TokenizerKind = Literal["bytes", "tokenizers", "words"]
TOKENIZER_FILES: Mapping[TokenizerKind, str] = {
    "tokenizers": "tokenizer.json",
    "words": "vocab.txt",
}
"""The file of a bundle that a kind needs; bytes need none."""
_UNKNOWN = ("<unk>", "[UNK]")
_HALF = "\N{REPLACEMENT CHARACTER}"
"""What stands for bytes that are no character, or not yet."""


class Tokenizer(ABC):
    """Text to ids and back. Open one with `open_tokenizer`."""

    @property
    @abstractmethod
    def size(self) -> int:
        """Ids are 0 .. size - 1; some may stand for nothing."""

    @abstractmethod
    def _encode(self, text: str) -> list[int]: ...

    @abstractmethod
    def decode(self, ids: Iterable[int]) -> str:
        """The text of ids, special tokens included; an id without a token is left out."""

    @final
    def encode(self, text: str) -> list[int]:
        """The ids of a text, no special token added.

        Raises:
            InvalidInput: the text is no Unicode text, or holds what has no id.
        """
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise InvalidInput(
                f"text: expected Unicode characters, got {text[error.start]!r} at {error.start}: "
                f"half of a character; was it read in another encoding than UTF-8?"
            ) from error
        return self._encode(text)


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

        Raises:
            InvalidInput: a line that is no word, or a word that stands there twice.
        """
        lines = table.removesuffix("\n").split("\n")
        self._words = [line.removesuffix("\r") for line in lines]
        self._ids: dict[str, int] = {}
        for i, word in enumerate(self._words):
            if word.split() != [word]:
                raise InvalidInput(
                    f"vocab.txt, line {i + 1}: expected a word without blanks, got {word!r}"
                )
            if word in self._ids:
                first = self._ids[word] + 1
                raise InvalidInput(f"vocab.txt, line {i + 1}: {word!r} stands in line {first} too")
            self._ids[word] = i
        self._unknown = next((self._ids[each] for each in _UNKNOWN if each in self._ids), None)

    @property
    def size(self) -> int:
        """Number of words."""
        return len(self._words)

    def _encode(self, text: str) -> list[int]:
        words = text.split()
        unknown = [] if self._unknown is not None else [w for w in words if w not in self._ids]
        if unknown:
            raise InvalidInput(
                f"text: expected words of the table, which has neither {' nor '.join(_UNKNOWN)}, "
                f"got {', '.join(map(repr, dict.fromkeys(unknown[:8])))}"
            )
        return [self._ids.get(word, self._unknown or 0) for word in words]

    def decode(self, ids: Iterable[int]) -> str:
        return " ".join(self._words[i] for i in ids if 0 <= i < len(self._words))


@final
class Library(Tokenizer):
    """A tokenizer.json, run by the `tokenizers` library."""

    def __init__(self, content: bytes) -> None:
        """Read it; padding and truncation that it asks for are off.

        Raises:
            BackendUnavailable: the library is not installed.
            InvalidInput: the library refuses the file.
        """
        try:
            from tokenizers import Tokenizer as Implementation
        except ImportError as error:
            raise BackendUnavailable(
                "a tokenizer.json needs the tokenizers package: pip install 'ancestral[text]'; "
                "without it give ids instead of text"
            ) from error
        try:
            self._library = Implementation.from_str(content.decode())
        except Exception as error:
            raise InvalidInput(
                f"tokenizer.json: the tokenizers library refuses it: {error}: fetch it anew, or "
                f"pip install --upgrade tokenizers"
            ) from error
        self._library.no_padding()
        self._library.no_truncation()
        self._size = max(self._library.get_vocab(with_added_tokens=True).values(), default=-1) + 1

    @property
    def size(self) -> int:
        """The largest id, and one."""
        return self._size

    def _encode(self, text: str) -> list[int]:
        return list(self._library.encode(text, add_special_tokens=False).ids)

    def decode(self, ids: Iterable[int]) -> str:
        return self._library.decode(list(ids), skip_special_tokens=False)


class TextStream:
    """The text of ids that come one after another, without half a character.

    What ends in bytes that are no character yet is held back until the rest has come. All the parts
    make `decode` of all the ids.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._decode = tokenizer.decode
        self._ids: list[int] = []
        # Of the ids, told were those before `_told`, in parts of which the last begins at `_last`:
        # a decoder may begin a text otherwise than go on with one, so each part has one before it.
        self._last = self._told = 0

    def push(self, ids: Sequence[int]) -> str:
        """What can be said now that these ids have come too."""
        self._ids += ids
        text = self._untold()
        if not text or text.endswith(_HALF):
            return ""
        self._last, self._told = self._told, len(self._ids)
        return text

    def finish(self) -> str:
        """What was held back."""
        text = self._untold()
        self._last = self._told = len(self._ids)
        return text

    def _untold(self) -> str:
        before = self._decode(self._ids[self._last : self._told])
        return self._decode(self._ids[self._last :])[len(before) :]


def open_tokenizer(kind: TokenizerKind, content: bytes) -> Tokenizer:
    """The tokenizer of a kind.

    Args:
        kind: bytes; tokenizers, of a tokenizer.json; words, of a vocab.txt.
        content: of that file; bytes have none.

    Raises:
        BackendUnavailable: the `tokenizers` library is needed and not installed.
        InvalidInput: the file is not sound.
    """
    match kind:
        case "bytes":
            return Bytes()
        case "words":
            return Words(_text("vocab.txt", content))
        case "tokenizers":
            return Library(content)


def check_tokenizer(kind: TokenizerKind, content: bytes, levels: int) -> None:
    """Refuse a tokenizer of which some ids are no values. The library is not needed for it.

    Bytes are not asked: of what is encoded, each value is checked, and 7 bits may be all there is.

    Raises:
        InvalidInput: the file is not sound, or its ids go beyond the levels.
    """
    match kind:
        case "bytes":
            return
        case "words":
            size = Words(_text("vocab.txt", content)).size
        case "tokenizers":
            size = _size(content)
    if size > levels:
        raise InvalidInput(
            f"{TOKENIZER_FILES[kind]}: expected ids below {levels}, the model's vocabulary, got "
            f"ids up to {size - 1}: it is another model's tokenizer"
        )


def _size(content: bytes) -> int:
    """The largest id of a tokenizer.json, and one."""
    try:
        document: Any = json.loads(_text("tokenizer.json", content))
        vocabulary = document["model"]["vocab"]
        # Unigram models have a list of pieces in the order of their ids, others a table.
        ids = list(vocabulary.values() if isinstance(vocabulary, dict) else range(len(vocabulary)))
        ids += [token["id"] for token in document.get("added_tokens") or []]
        return 1 + max(map(int, ids), default=-1)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise InvalidInput(
            f"tokenizer.json: expected JSON with a model and its vocab, got {error!r}: fetch it "
            f"anew"
        ) from error


def _text(name: str, content: bytes) -> str:
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InvalidInput(f"{name}: expected UTF-8, got {error}") from error
