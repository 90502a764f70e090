"""Measure how much of a text a vocabulary covers; the rest is lost or becomes an unknown token."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from ancestral.text.tokenizer_file import byte_of

_EXAMPLES = 5


@dataclass(frozen=True, slots=True)
class Coverage:
    """Part of a text that the vocabulary covers.

    Attributes:
        unknown: number of characters or words that have no id.
        total: number of characters (including whitespace) or words in the text.
        unit: unit that is counted.
        nothing: whether something is unknown and only whitespace is known.
        examples: some unknown characters or words, each once.
        read_as: token that replaces unknown ones; `None` if they are dropped.
    """

    unknown: int
    total: int
    unit: Literal["characters", "words"]
    nothing: bool = False
    examples: tuple[str, ...] = ()
    read_as: str | None = None


def of_words(total: int, unknown: Iterable[str], read_as: str | None) -> Coverage:
    """Return the coverage of `total` words; `unknown` has an unknown word once per occurrence."""
    lost = list(unknown)
    nothing = 0 < len(lost) == total
    return Coverage(len(lost), total, "words", nothing, _some(lost), read_as)


def of_characters(text: str, unknown: Iterable[str], read_as: str | None) -> Coverage:
    """Return the coverage of a text; `unknown` has an unknown character once per occurrence."""
    lost = Counter(unknown)
    nothing = bool(lost) and not any(each.strip() for each in Counter(text) - lost)
    return Coverage(lost.total(), len(text), "characters", nothing, _some(lost), read_as)


def _some(lost: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(lost))[:_EXAMPLES]


def within(spans: Iterable[tuple[int, int]]) -> set[int]:
    """Return the indices that are in some span [start, end).

    >>> sorted(within([(0, 2), (1, 3), (5, 6)]))
    [0, 1, 2, 5]
    """
    return {i for start, end in spans for i in range(start, end)}


class Symbols:
    """Characters that a BPE without an unknown token can encode; it drops all others.

    Args:
        tokens: tokens of its vocabulary.
        model: settings of the model in tokenizer.json.
        written: function that returns a text as the model sees it, normalised and pre-tokenised.
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
        """Return whether the vocabulary has every symbol of a character.

        A tokenizer may put a space before each text, so the symbols of a character are those that a
        second one adds. A character that the tokenizer removes on purpose has no symbols.
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
