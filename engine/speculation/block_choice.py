"""How many positions the next block has: by what blocks cost and how often proposals are right."""

from collections.abc import Mapping

SIZES = (1, 2, 4, 8, 16, 32)
"""Sizes of blocks. Few, since a runtime prepares each."""
_FIRST = 0.8
"""Assumed share of right proposals before any was seen."""
_WEIGHT = 4.0
"""Number of proposals that this assumption counts as."""
_PRIOR = 2.0
"""Calls of a size that the expectation from all proposals counts as."""
_FORGET = 0.9
"""What a call leaves of the weight of those before it."""
_CALLS, _GAIN = 6, 1.15
"""Calls of a size before another is taken, and how much better that has to be."""
_REST = (8, 64)
"""Steps without proposals after blocks stopped paying: at first, and at most."""
_TRIALS = 3
"""Blocks that are tried between two rests, since proposals from a last block are better."""


class BlockChoice:
    """Chooses the size of each block of a row.

    If each proposal is right with probability a, given that those before it are, a block of s
    positions yields (1 - a^s) / (1 - a) values. That is what is expected of a size at first, and
    what calls of the size yielded counts more and more: proposals of some kinds are better in
    longer blocks. The size with the most values per second is taken, and kept for some calls, since
    proposals from the last block need blocks of one size. Recent calls count most. While single
    steps are the best, some blocks of the best size are tried now and then, more and more rarely.

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
        # Values and number of calls, by size.
        self._yielded = dict.fromkeys(self._costs, (0.0, 0.0))
        self._rest, self._resting = _REST[0], 0
        self._trials = 0
        self._size, self._calls = 1, _CALLS

    def rest(self, most: int) -> int:
        """Return how many single steps come next, at most `most`; 0 if a block does."""
        steps = min(self._resting, most)
        self._resting -= steps
        return steps

    def size(self) -> int:
        """Return the size of the next block."""
        self._calls += 1
        if self._calls > _CALLS:
            self._choose()
        if self._size > 1:
            self._rest, self._trials = _REST[0], 0
            return self._size
        self._calls = _CALLS
        self._trials += 1
        if self._trials >= _TRIALS:
            self._resting, self._rest = self._rest, min(2 * self._rest, _REST[1])
            self._trials = 0
        return max((size for size in self._costs if size > 1), key=self._speed, default=1)

    def _choose(self) -> None:
        """Take the size with the most values per second, if it is better enough."""
        best = max(self._costs, key=lambda size: (self._speed(size), -size))
        if self._speed(best) > _GAIN * self._speed(self._size):
            self._size = best
        self._calls = 1

    def seen(self, proposed: int, right: int) -> None:
        """Take the outcome of a block: its proposals, and how many of the first were right."""
        if not proposed:
            return
        self._right = self._right * _FORGET + right
        self._seen = self._seen * _FORGET + right + (right < proposed)
        if proposed + 1 in self._yielded:
            values, calls = self._yielded[proposed + 1]
            self._yielded[proposed + 1] = values * _FORGET + right + 1, calls * _FORGET + 1

    def _speed(self, size: int) -> float:
        """Return the expected number of values of a block per second."""
        return self._expected(size) / self._costs[size]

    def _expected(self, size: int) -> float:
        """Return the expected number of values of a block."""
        values, calls = self._yielded[size]
        if size == 1:
            return 1.0
        return (_PRIOR * _yield(self._right / self._seen, size) + values) / (_PRIOR + calls)


def _yield(rate: float, size: int) -> float:
    """Return the expected number of values of a block."""
    if rate >= 1:
        return float(size)
    return (1 - rate**size) / (1 - rate)


class Fixed:
    """Always the same size of block."""

    def __init__(self, size: int) -> None:
        self._size = size

    def rest(self, most: int) -> int:
        """Return how many single steps come next: none."""
        return 0

    def size(self) -> int:
        """Return the size of the next block."""
        return self._size

    def seen(self, proposed: int, right: int) -> None:
        """Take the outcome of a block, which changes nothing."""
