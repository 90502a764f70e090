"""An index of texts by what came before each value: how often values followed a sequence."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

ORDERS = (1, 2, 3, 5, 7)
"""Lengths of the sequences that are counted, the shortest first."""
_BITS = 63
"""Bits of a key, so that it is a positive int64."""
_KEPT = 8
"""Most values that are kept after one sequence: the most frequent ones."""
_CACHED = 32
"""Least number of places whose counts are kept in memory."""
_MOST_CACHED = 100_000
"""Most sequences whose counts are kept in memory."""

Counts = Mapping[int, int]
"""How often each value followed a sequence."""


class Corpus:
    """Texts, with all their positions sorted by the values before them, the last one first.

    The positions after one sequence are then neighbours, and those after a longer sequence are
    among them. The key of a position holds as many values before it as fit in 63 bits: 7 bytes, or
    3 ids of a vocabulary of 50,000.

    Attributes:
        largest: the largest value in the texts; -1 without texts.
        orders: lengths of the sequences that can be looked up, those of `ORDERS` that fit in a key.
    """

    def __init__(self, texts: Sequence[NDArray[np.int64]]) -> None:
        """Index the texts, in 9 to 12 bytes of memory a value.

        Args:
            texts: values of each text, [n].
        """
        self.largest = max((int(text.max()) for text in texts if len(text)), default=-1)
        # 0 is before a text, then the values, then one for all that the texts lack; never all bits.
        self._width = (self.largest + 3).bit_length()
        most = _BITS // self._width
        self.orders = tuple(order for order in ORDERS if order <= most)
        self._reach = self.orders[-1]
        self._top = self._width * (self._reach - 1)
        self._shifts = [self._width * (self._reach - order) for order in self.orders]
        parts = [part for text in texts for part in (text + 1, np.zeros(1, np.int64))]
        codes = np.concatenate(parts) if parts else np.zeros(0, np.int64)
        keys = self._keys(codes)
        places = keys.argsort(kind="stable")
        # Nothing follows the end of a text.
        places = places[codes[places] > 0]
        self._sorted = keys[places]
        self._followers = (codes[places] - 1).astype(np.min_scalar_type(max(self.largest, 0)))
        self._cache: dict[tuple[int, int], Counts] = {}

    def __len__(self) -> int:
        """Return the number of positions."""
        return len(self._sorted)

    def key(self, text: Sequence[int]) -> int:
        """Return the key of the position after a text."""
        key = 0
        for value in text[-self._reach :]:
            key = self.pushed(key, value)
        return key

    def pushed(self, key: int, value: int) -> int:
        """Return the key of the next position, after one more value."""
        code = min(value, self.largest + 1) + 1
        return key >> self._width | code << self._top

    def counts(self, key: int) -> list[Counts]:
        """Return how often values followed the last values before a position.

        Args:
            key: key of the position. A text that is shorter than a sequence is compared with the
                beginnings of the corpus' texts.

        Returns:
            Counts of the most frequent values, for each of the first `orders`; there are fewer if
            a sequence did not occur, and longer ones then did not either.
        """
        bounds = []
        for shift in self._shifts:
            low = key >> shift << shift
            bounds += [low, low + (1 << shift)]
        ends = self._sorted.searchsorted(np.array(bounds, np.int64)).tolist()
        found = []
        for first, last in zip(ends[::2], ends[1::2], strict=True):
            if first == last:
                break
            found.append(self._counted(first, last))
        return found

    def _keys(self, codes: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the key of each position, [n]: the value before it in the highest bits."""
        keys = np.zeros(len(codes), np.int64)
        inside = np.ones(len(codes), np.bool_)
        for back in range(1, min(self._reach, len(codes) - 1) + 1):
            inside[:back] = False
            inside[back:] &= codes[:-back] > 0
            shift = self._width * (self._reach - back)
            keys[back:] |= np.where(inside[back:], codes[:-back] << shift, 0)
        return keys

    def _counted(self, first: int, last: int) -> Counts:
        """Return the counts of a range."""
        if last - first < _CACHED:
            few: dict[int, int] = {}
            for value in self._followers[first:last].tolist():
                few[value] = few.get(value, 0) + 1
            return few
        kept = self._cache.get((first, last))
        if kept is None:
            values, counts = np.unique(self._followers[first:last], return_counts=True)
            most = counts.argsort(kind="stable")[::-1][:_KEPT]
            kept = dict(zip(values[most].tolist(), counts[most].tolist(), strict=True))
            if len(self._cache) >= _MOST_CACHED:
                self._cache.clear()
            self._cache[first, last] = kept
        return kept
