"""Proposals by what followed the same values before: in the row itself, and in a corpus."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ancestral.arrays import integers, shown
from ancestral.engine.runner import Runner
from ancestral.engine.speculation.corpus import ORDERS, Corpus
from ancestral.engine.speculation.proposer import Proposals, Row
from ancestral.errors import InvalidInput

_MATCHES = 64
"""Most places of a suffix that are looked at."""


class Ngram:
    """Proposes the values that followed the longest suffix of the row that was seen before.

    If the suffix was followed by several values, the uniform of the position draws from their
    counts, so that a proposal agrees with the model's draw as often as the distributions overlap.
    Temperature 0 takes the most frequent.
    """

    name = "ngram"

    def __init__(self, corpus: Iterable[ArrayLike] = ()) -> None:
        """Index a corpus.

        Args:
            corpus: sequences of values by positions, [n] each, for example the ids of texts; none
                leaves what the row itself holds.

        Raises:
            InvalidInput: a sequence is not one of integers from 0 on.
        """
        texts = [integers(f"corpus: text {i}", text) for i, text in enumerate(corpus)]
        for i, text in enumerate(texts):
            if text.ndim != 1 or (len(text) and text.min() < 0):
                raise InvalidInput(
                    f"corpus: text {i}: expected ids from 0 on, [n], got {shown(text)}"
                )
        self._corpus = Corpus(texts)

    def check(self, runner: Runner) -> None:
        if self._corpus.largest >= runner.data.levels:
            raise InvalidInput(
                f"corpus: expected values in 0 .. {runner.data.levels - 1}, the model's, got "
                f"{self._corpus.largest}; use the tokenizer of the bundle"
            )

    def seconds(self) -> float:
        return 0.0

    @contextmanager
    def begin(self, row: Row) -> Iterator[Proposals]:
        yield _Matches(self._corpus, row)


class _Matches:
    """The suffixes of one row, and the corpus."""

    def __init__(self, corpus: Corpus, row: Row) -> None:
        self._corpus, self._u = corpus, row.u.tolist()
        self._temperature = row.sampling.temperature
        # Where each sequence of the row was last followed by a value, by its length.
        self._places: tuple[dict[tuple[int, ...], list[int]], ...] = tuple({} for _ in ORDERS)
        self._read = 0

    def propose(self, values: NDArray[np.int64], position: int, most: int) -> NDArray[np.int64]:
        text: list[int] = values[:position].tolist()
        self._index(text)
        proposed: list[int] = []
        while len(proposed) < most and position + len(proposed) < len(values):
            value = self._next(text, self._u[len(text)])
            if value is None:
                break
            text.append(value)
            proposed.append(value)
        return np.array(proposed, np.int64)

    def _index(self, text: list[int]) -> None:
        """Remember which values followed the sequences of the row."""
        for end in range(max(self._read, 1), len(text)):
            for order, places in zip(ORDERS, self._places, strict=True):
                if order <= end:
                    places.setdefault(tuple(text[end - order : end]), []).append(text[end])
        self._read = len(text)

    def _next(self, text: list[int], u: float) -> int | None:
        """Return the proposal for the value after a text; None if no suffix was seen before."""
        for order, places in zip(ORDERS, self._places, strict=True):
            if order > len(text):
                continue
            suffix = text[-order:]
            followed = places.get(tuple(suffix), [])[-_MATCHES:]
            followed = followed + self._corpus.followers(suffix, _MATCHES)
            if followed:
                return _drawn(followed, u, self._temperature)
        return None


def _drawn(followed: list[int], u: float, temperature: float) -> int:
    """Return the value that u draws from the counts of values, in their order."""
    if len(followed) == 1:
        return followed[0]
    values, counts = np.unique(np.array(followed), return_counts=True)
    if len(values) == 1 or temperature == 0:
        return int(values[counts.argmax()])
    weights = (counts / counts.max()) ** (1 / temperature)
    sums = weights.cumsum()
    return int(values[min(int(np.searchsorted(sums, u * sums[-1])), len(values) - 1)])
