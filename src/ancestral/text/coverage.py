"""How much of a text a vocabulary knows: what it lacks is lost, or read as an unknown token."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from ancestral.text.tokenizer_file import byte_of

_EXAMPLES = 5


@dataclass(frozen=True, slots=True)
class Coverage:
    """How much of a text the vocabulary knows.

    Attributes:
        unknown: number of characters or words that have no id of their own.
        total: number of them in the text, blanks among the characters.
        unit: what is counted.
        nothing: whether something is unknown and all that is known are blanks.
        examples: some of what is unknown, each once.
        read_as: the token that is read instead; None where the text loses it.
    """

    unknown: int
    total: int
    unit: Literal["characters", "words"]
    nothing: bool = False
    examples: tuple[str, ...] = ()
    read_as: str | None = None


def of_words(total: int, unknown: Iterable[str], read_as: str | None) -> Coverage:
    """Coverage of so many words, some of which are unknown, each as often as it occurs."""
    lost = list(unknown)
    nothing = 0 < len(lost) == total
    return Coverage(len(lost), total, "words", nothing, _some(lost), read_as)


def of_characters(text: str, unknown: Iterable[str], read_as: str | None) -> Coverage:
    """Coverage of a text, some of whose characters are unknown, each as often as it occurs."""
    lost = Counter(unknown)
    nothing = bool(lost) and not any(each.strip() for each in Counter(text) - lost)
    return Coverage(lost.total(), len(text), "characters", nothing, _some(lost), read_as)


def _some(lost: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(lost))[:_EXAMPLES]


def within(spans: Iterable[tuple[int, int]]) -> set[int]:
    """The indices that some span [start, end) contains.

    >>> sorted(within([(0, 2), (1, 3), (5, 6)]))
    [0, 1, 2, 5]
    """
    return {i for start, end in spans for i in range(start, end)}


class Symbols:
    """The characters that a BPE without an unknown token has; it leaves out all others.

    Args:
        tokens: of its vocabulary.
        model: its settings, as in a tokenizer.json.
        written: a text as the model sees it, normalised and cut.
    """

    def __init__(
        self, tokens: Iterable[str], model: Mapping[str, Any], written: Callable[[str], str]
    ) -> None:
        self._tokens = frozenset(tokens)
        self._starts = {"", model.get("continuing_subword_prefix") or ""}
        self._ends = {"", model.get("end_of_word_suffix") or ""}
        self._bytes = set(map(byte_of, self._tokens)) if model.get("byte_fallback") else set()
        self._written = written
        self._known: dict[str, bool] = {}

    def has(self, character: str) -> bool:
        """Whether no symbol of a character is left out.

        A tokenizer may begin each text with a blank: what a second character adds is its own. One
        that the tokenizer removes on purpose has no symbol.
        """
        if character not in self._known:
            once, twice = (Counter(self._written(character * n)) for n in (1, 2))
            self._known[character] = all(map(self._is_known, twice - once))
        return self._known[character]

    def _is_known(self, symbol: str) -> bool:
        forms = (start + symbol + end for start in self._starts for end in self._ends)
        return any(form in self._tokens for form in forms) or self._bytes.issuperset(
            symbol.encode()
        )
