"""Proposals by what followed the same values before: in the row itself, and in a corpus."""

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ancestral.arrays import integers, shown
from ancestral.engine.runner import Runner
from ancestral.engine.speculation.corpus import ORDERS, Corpus, Counts
from ancestral.engine.speculation.proposer import Proposals, Row
from ancestral.errors import InvalidInput

ESCAPES = (8.0, 16.0, 16.0, 32.0, 64.0)
"""Weight of the shorter sequences for each value that followed a sequence, by order."""
_OWN = 4
"""Weight of a place in the row itself, in places of the corpus."""
_ENOUGH = 0.05
"""Weight of shorter sequences that is left out."""

_TIMED, _ROUNDS = 64, 3
"""Number of proposals that are timed together, and how often."""
_NOTHING = np.empty(0, np.int64)


class Ngram:
    """Proposes what followed the last values of the row, in the row itself and in a corpus.

    The counts after sequences of several lengths are mixed, the longest first, as in prediction by
    partial matching: a sequence of n places with d different followers leaves e d / (n + e d) of
    its weight to the shorter ones, with e from `ESCAPES`. These are larger than in compression,
    because a model is smoother than the texts that it was trained on. The uniform of the position
    draws from the mixture at the temperature of the row, so that a proposal agrees with the model's
    draw as often as the distributions overlap. Temperature 0 takes the most probable value.

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
        longest = max(texts, key=len, default=_NOTHING)
        self._example = np.concatenate([longest[:_TIMED], np.zeros(_TIMED, np.int64)])
        self._seconds: float | None = None

    def check(self, runner: Runner) -> None:
        if self._corpus.largest >= runner.data.levels:
            raise InvalidInput(
                f"corpus: expected values in 0 .. {runner.data.levels - 1}, the model's, got "
                f"{self._corpus.largest}; use the tokenizer of the bundle"
            )

    def seconds(self) -> float:
        if self._seconds is None:
            self._seconds = min(self._measured() for _ in range(_ROUNDS))
        return self._seconds

    @contextmanager
    def begin(self, row: Row) -> Iterator[Proposals]:
        yield _Matches(self._corpus, row.u.tolist(), row.sampling.temperature)

    def _measured(self) -> float:
        """Return the seconds that one proposal took, after the beginning of a text."""
        position = len(self._example) - _TIMED
        matches = _Matches(self._corpus, [0.5] * len(self._example), 1.0)
        begin = time.perf_counter()
        matches.propose(self._example, position, _TIMED)
        return (time.perf_counter() - begin) / _TIMED


class _Matches:
    """What followed the sequences of one row, and the corpus."""

    def __init__(self, corpus: Corpus, u: list[float], temperature: float) -> None:
        self._corpus, self._u, self._temperature = corpus, u, temperature
        # How often values followed the sequences of the row, by order.
        self._own: tuple[dict[tuple[int, ...], dict[int, int]], ...] = tuple({} for _ in ORDERS)
        self._read = 0

    def propose(self, values: NDArray[np.int64], position: int, most: int) -> NDArray[np.int64]:
        text: list[int] = values[:position].tolist()
        self._learn(text)
        key, end = self._corpus.key(text), min(position + most, len(values))
        while len(text) < end:
            weights = self._mixed(text, self._corpus.counts(key))
            if not weights:
                break
            value = _drawn(weights, self._u[len(text)], self._temperature)
            text.append(value)
            key = self._corpus.pushed(key, value)
        return np.array(text[position:], np.int64)

    def _learn(self, text: list[int]) -> None:
        """Count the values that followed the sequences of the row."""
        for end in range(max(self._read, 1), len(text)):
            value = text[end]
            for order, own in zip(ORDERS, self._own, strict=True):
                if order > end:
                    break
                counts = own.setdefault(tuple(text[end - order : end]), {})
                counts[value] = counts.get(value, 0) + 1
        self._read = len(text)

    def _mixed(self, text: list[int], found: list[Counts]) -> dict[int, float]:
        """Return the weight of each value after a text; nothing if no sequence was seen.

        Args:
            text: the text.
            found: counts of the corpus, for the first orders.
        """
        weights: dict[int, float] = {}
        left = 1.0
        for i in range(len(ORDERS) - 1, -1, -1):
            counts: Counts = found[i] if i < len(found) else _NONE
            own: Counts = self._own[i].get(tuple(text[-ORDERS[i] :]), _NONE)
            if not counts and not own:
                continue
            different = len(counts.keys() | own.keys()) if own else len(counts)
            unseen = ESCAPES[i] * different
            total = unseen + sum(counts.values()) + _OWN * sum(own.values())
            share = left / total
            for value, count in counts.items():
                weights[value] = weights.get(value, 0.0) + share * count
            for value, count in own.items():
                weights[value] = weights.get(value, 0.0) + share * _OWN * count
            left = share * unseen
            if left < _ENOUGH:
                break
        return weights


_NONE: Counts = {}


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
