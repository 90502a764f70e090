"""How many positions the next block has: by what blocks cost and how often proposals are right."""

from collections.abc import Mapping

SIZES = (1, 2, 4, 8, 16, 32)
"""Sizes of blocks. Few, since a runtime prepares each."""
_FIRST = 0.7
"""Assumed share of right proposals before any was seen."""
_WEIGHT = 6.0
"""Number of proposals that this assumption counts as."""
_FORGET = 0.9
"""What a call leaves of the weight of those before it."""
_REST = (8, 64)
"""Steps without proposals after blocks stopped paying: at first, and at most."""


class BlockChoice:
    """Chooses the size of each block of a row.

    If each proposal is right with probability a, given that those before it are, a block of s
    positions yields (1 - a^s) / (1 - a) values. The size with the most values per second is taken.
    a is estimated from what the row has seen, recent calls first. While single steps are the best,
    a block is tried now and then, more and more rarely.

    It is deterministic: the same costs and the same outcomes make the same sizes.
    """

    def __init__(self, costs: Mapping[int, float], proposal: float = 0.0) -> None:
        """Begin a row.

        Args:
            costs: seconds of a call by size of the block.
            proposal: seconds that one proposed value takes.
        """
        self._costs = {
            size: cost + (size - 1) * proposal for size, cost in costs.items() if size == 1 or cost
        }
        self._right, self._seen = _FIRST * _WEIGHT, _WEIGHT
        self._rest, self._resting = _REST[0], 0

    def size(self) -> int:
        """Return the size of the next block."""
        if self._resting:
            self._resting -= 1
            return 1
        rate = self._right / self._seen
        best = max(self._costs, key=lambda size: (_yield(rate, size) / self._costs[size], -size))
        if best > 1:
            self._rest = _REST[0]
            return best
        # A block of two to four shows whether proposals have become better.
        self._resting, self._rest = self._rest, min(2 * self._rest, _REST[1])
        return min((size for size in self._costs if size > 1), default=1)

    def seen(self, proposed: int, right: int) -> None:
        """Take the outcome of a block: its proposals, and how many of the first were right."""
        if not proposed:
            return
        self._right = self._right * _FORGET + right
        self._seen = self._seen * _FORGET + right + (right < proposed)


def _yield(rate: float, size: int) -> float:
    """Return the expected number of values of a block."""
    if rate >= 1:
        return float(size)
    return (1 - rate**size) / (1 - rate)


class Fixed:
    """Always the same size of block."""

    def __init__(self, size: int) -> None:
        self._size = size

    def size(self) -> int:
        """Return the size of the next block."""
        return self._size

    def seen(self, proposed: int, right: int) -> None:
        """Take the outcome of a block, which changes nothing."""
