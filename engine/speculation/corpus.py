"""An index of texts by the sequences in them: which values followed a sequence."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

ORDERS = (16, 10, 7, 5, 4, 3, 2)
"""Lengths of the sequences that are indexed, the longest first."""
_FACTOR = np.uint64(0x9E3779B97F4A7C15)
_END = -1


class Corpus:
    """Texts, and for each length the places of their sequences, sorted by a hash of 64 bits."""

    def __init__(self, texts: Sequence[NDArray[np.int64]]) -> None:
        """Index the texts.

        Args:
            texts: values of each text, [n].
        """
        ends = np.array([_END])
        parts = [part for text in texts for part in (text, ends)]
        self._values = np.concatenate(parts).astype(np.int64) if parts else np.empty(0, np.int64)
        self.largest = int(self._values.max(initial=-1))
        """The largest value in the texts; -1 without texts."""
        self._sorted = {order: self._places(order) for order in ORDERS}

    def followers(self, suffix: Sequence[int], most: int) -> list[int]:
        """Return values that followed a sequence, at evenly spread places, at most `most`.

        Args:
            suffix: the sequence, of one of the lengths in `ORDERS`.
            most: largest number of places that are looked at.
        """
        hashes, places = self._sorted[len(suffix)]
        if not len(hashes):
            return []
        wanted = _hashed(np.array(suffix, np.int64), len(suffix))[0]
        first, last = np.searchsorted(hashes, [wanted, wanted + np.uint64(1)])
        if last <= first:
            return []
        found = places[first:last]
        found = found[:: -(-len(found) // most)]
        order = len(suffix)
        same = [
            int(self._values[place + order])
            for place in found.tolist()
            if self._values[place : place + order].tolist() == list(suffix)
        ]
        return [value for value in same if value != _END]

    def _places(self, order: int) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
        """Return hashes of the sequences of a length that a value follows, sorted, and places."""
        count = len(self._values) - order
        if count <= 0:
            return np.empty(0, np.uint64), np.empty(0, np.int64)
        hashes = _hashed(self._values, order)[:count]
        places = hashes.argsort(kind="stable")
        return hashes[places], places


def _hashed(values: NDArray[np.int64], order: int) -> NDArray[np.uint64]:
    """Return a hash of each sequence of a length, [n - order + 1]."""
    count = len(values) - order + 1
    hashes = np.zeros(count, np.uint64)
    for offset in range(order):
        hashes = (hashes ^ values[offset : offset + count].astype(np.uint64)) * _FACTOR
        hashes ^= hashes >> np.uint64(29)
    return hashes
