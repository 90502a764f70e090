"""An index of texts by what came before each value: how often values followed a sequence."""

from bisect import bisect_left
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

ORDERS = (2, 4, 6, 10)
"""Lengths of the sequences that are looked up."""
_BITS = 63
"""Bits of a key, so that it is a positive int64."""
_KEPT = 16
"""Most values whose counts are kept after one sequence: the most frequent ones."""
_CACHED = 32
"""Least number of places whose counts are kept in memory."""
_MOST_CACHED = 100_000
"""Most sequences whose counts are kept in memory."""

Counts = Mapping[int, int]
"""How often each value followed a sequence."""


class Corpus:
    """Texts, with all their positions sorted by the values before them, the last one first.

    The positions after one sequence are then neighbours, and those after a longer sequence are
    among them. A key holds as many values before a position as fit in 63 bits. Positions with the
    same key are sorted by the key of the values before those.

    Attributes:
        largest: the largest value in the texts; -1 without texts.
        reach: most values of a sequence that is looked up.
    """

    def __init__(self, texts: Sequence[NDArray[np.int64]]) -> None:
        """Index the texts.

        Args:
            texts: values of each text, [n].
        """
        self.largest = max((int(text.max()) for text in texts if len(text)), default=-1)
        # Values from 1 on, one more for all values that the texts lack, and never all bits.
        self._width = (self.largest + 3).bit_length()
        self._each = _BITS // self._width
        self._top = self._width * (self._each - 1)
        # 0 is the end of each text, and what is before the first.
        parts = [part for text in texts for part in (text + 1, np.zeros(1, np.int64))]
        codes = np.concatenate(parts) if parts else np.zeros(0, np.int64)
        keys = self._keys(codes)
        before = np.zeros_like(keys)
        before[self._each :] = keys[: -self._each]
        places = np.lexsort((before, keys))
        # Nothing follows the end of a text.
        places = places[codes[places] > 0]
        self._sorted, self._before = keys[places], before[places]
        self._followers = (codes[places] - 1).astype(np.min_scalar_type(max(self.largest, 0)))
        self.reach = 2 * self._each
        self._orders = tuple(order for order in ORDERS if order <= self.reach)
        self._near = tuple(order for order in self._orders if order <= self._each)
        self._cache: dict[tuple[int, int], Counts] = {}

    def __len__(self) -> int:
        """Return the number of positions."""
        return len(self._sorted)

    def counts(self, text: Sequence[int]) -> list[Counts]:
        """Return how often values followed the last values of a text, by order.

        Args:
            text: the text.

        Returns:
            Counts of the most frequent values for each of the first `ORDERS`; there are fewer if a
            sequence did not occur, and longer ones then did not either.
        """
        if not len(self):
            return []
        key, before = self._packed(text[-1 : -self._each - 1 : -1]), None
        bounds = []
        for order in self._near:
            shift = self._width * (self._each - order)
            low = key >> shift << shift
            bounds += [low, low + (1 << shift)]
        ends = self._sorted.searchsorted(np.array(bounds, np.int64)).tolist()
        found = []
        first, last = 0, len(self)
        for i, order in enumerate(self._orders):
            if order > len(text):
                break
            if i < len(self._near):
                first, last = ends[2 * i], ends[2 * i + 1]
            else:
                if before is None:
                    before = self._packed(text[-self._each - 1 : -2 * self._each - 1 : -1])
                first, last = self._narrowed(key, before, order, first, last)
            if first >= last:
                break
            found.append(self._counted(first, last))
        return found

    def _keys(self, codes: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the key of the values before each position, [n]; the last one is the highest."""
        keys = np.zeros(len(codes), np.int64)
        for back in range(1, min(self._each, len(codes) - 1) + 1):
            keys[back:] |= codes[:-back] << (self._width * (self._each - back))
        return keys

    def _packed(self, latest: Sequence[int]) -> int:
        """Return the key of values, the last one of a text first."""
        key, shift = 0, self._top
        for value in latest:
            key |= (min(value, self.largest + 1) + 1) << shift
            shift -= self._width
        return key

    def _narrowed(
        self, key: int, before: int, order: int, first: int, last: int
    ) -> tuple[int, int]:
        """Return the part of a range whose sequences are equal up to an order above a key's."""
        first = bisect_left(self._sorted, key, first, last)
        last = bisect_left(self._sorted, key + 1, first, last)
        shift = self._width * (2 * self._each - order)
        low = before >> shift << shift
        first = bisect_left(self._before, low, first, last)
        return first, bisect_left(self._before, low + (1 << shift), first, last)

    def _counted(self, first: int, last: int) -> Counts:
        """Return the counts of a range."""
        if last - first < _CACHED:
            return Counter(self._followers[first:last].tolist())
        kept = self._cache.get((first, last))
        if kept is None:
            values, counts = np.unique(self._followers[first:last], return_counts=True)
            most = counts.argsort(kind="stable")[::-1][:_KEPT]
            kept = dict(zip(values[most].tolist(), counts[most].tolist(), strict=True))
            if len(self._cache) >= _MOST_CACHED:
                self._cache.clear()
            self._cache[first, last] = kept
        return kept
