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

_ESCAPE = 2.0
"""Weight of the values that have not followed a sequence, for each value that has."""
_ENOUGH = 0.02
"""Weight of shorter sequences that is left out."""


class Ngram:
    """Proposes what followed the last values of the row, in the row itself and in a corpus.

    The counts after several lengths of sequences are mixed, the longest first: a sequence of n
    places with d different followers leaves 2 d / (n + 2 d) of its weight to the next shorter one,
    as in prediction by partial matching. The uniform of the position draws from the mixture at the
    temperature of the row, so that a proposal agrees with the model's draw as often as the
    distributions overlap. Temperature 0 takes the most probable value.

    References:
        Cleary & Witten (1984), Data Compression Using Adaptive Coding and Partial String Matching.
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
    """What followed the sequences of one row, and the corpus."""

    def __init__(self, corpus: Corpus, row: Row) -> None:
        self._corpus, self._u = corpus, row.u.tolist()
        self._temperature = row.sampling.temperature
        # How often values followed the sequences of the row, by order.
        self._own: tuple[dict[tuple[int, ...], dict[int, int]], ...] = tuple({} for _ in ORDERS)
        self._read = 0

    def propose(self, values: NDArray[np.int64], position: int, most: int) -> NDArray[np.int64]:
        text: list[int] = values[:position].tolist()
        self._learn(text)
        end = min(position + most, len(values))
        while len(text) < end:
            weights = self._mixed(text)
            if not weights:
                break
            text.append(_drawn(weights, self._u[len(text)], self._temperature))
        return np.array(text[position:], np.int64)

    def _learn(self, text: list[int]) -> None:
        """Count the values that followed the sequences of the row."""
        for end in range(max(self._read, 1), len(text)):
            for order, own in zip(ORDERS, self._own, strict=True):
                if order <= end:
                    counts = own.setdefault(tuple(text[end - order : end]), {})
                    counts[text[end]] = counts.get(text[end], 0) + 1
        self._read = len(text)

    def _mixed(self, text: list[int]) -> dict[int, float]:
        """Return the weight of each value after a text; nothing if no sequence was seen."""
        weights: dict[int, float] = {}
        found, left = self._corpus.counts(text), 1.0
        for i in range(len(ORDERS) - 1, -1, -1):
            counts = found[i] if i < len(found) else {}
            own = self._own[i].get(tuple(text[-ORDERS[i] :]), {})
            if not counts and not own:
                continue
            total = sum(counts.values()) + sum(own.values())
            unseen = _ESCAPE * (len(counts.keys() | own.keys()) if own else len(counts))
            share = left / (total + unseen)
            for seen in (counts, own):
                for value, count in seen.items():
                    weights[value] = weights.get(value, 0.0) + share * count
            left *= unseen / (total + unseen)
            if left < _ENOUGH:
                break
        return weights


def _drawn(weights: dict[int, float], u: float, temperature: float) -> int:
    """Return the value that u draws from weights, in the order of the values."""
    if len(weights) == 1:
        return next(iter(weights))
    if temperature == 0:
        return max(weights, key=weights.__getitem__)
    if temperature != 1:
        largest, power = max(weights.values()), 1 / temperature
        weights = {value: (weight / largest) ** power for value, weight in weights.items()}
    left = u * sum(weights.values())
    value = 0
    for value in sorted(weights):
        left -= weights[value]
        if left < 0:
            break
    return value
