"""Find which outputs change with which values: one value is changed, or all from a position on.

Several values are tried at each position, since a change between two of them may have no effect.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import pairwise
from math import gcd

import numpy as np
import torch
from jaxtyping import Bool, Int64
from torch import Tensor

from ancestral.errors import InvalidInput

Outputs = Callable[[Tensor], Tensor]
"""A function x [b, t] int64 -> outputs [b, t, ...]."""
CHANGES = 3
"""Number of changes tried for each value, each in a separate event."""
_NUMBERS = 2**25
"""Largest number of outputs, or of attention weights of 8 heads, in one pass."""
_ROWS = 64
_LOCATED = 8
"""Number of searches per test for the input of an output that changes only with many values."""


def random_events(length: int, levels: int, seed: int) -> Int64[Tensor, "n t"]:
    """Return events in which each value steps through the levels, through all if there are few.

    A function of one value that is not constant therefore differs between two consecutive events.
    """
    random = np.random.default_rng(seed)
    strides = [step for step in range(1, levels) if gcd(step, levels) == 1] or [0]
    start, stride = random.integers(0, levels, length), random.choice(strides, length)
    steps = np.arange(CHANGES + 1)[:, None]
    return torch.from_numpy(np.asarray((start + steps * stride) % levels, dtype=np.int64))


def changed_pairs(
    outputs: Outputs, events: Int64[Tensor, "n t"], positions: Sequence[int], levels: int
) -> set[tuple[int, int]]:
    """Return where an output changes a bit with its own value or a later one.

    Args:
        outputs: function to test.
        events: events, [n, t]; each is changed into the next.
        positions: positions at which, and from which on, values are changed.
        levels: number of levels.

    Returns:
        Pairs (output, input) of positions. For an output that changes only if several values change
        together, one input is returned, and only the first few such outputs are included.

    Raises:
        InvalidInput: the outputs have another shape, are random, or depend on other rows.
    """
    t = events.shape[1]
    # Few rows, since two more passes of as many rows compute the outputs to compare with.
    rows = min(_ROWS, -(-len(positions) // 4), _NUMBERS // (t * max(levels, 8 * t, 1024)))
    pairs: set[tuple[int, int]] = set()
    last: dict[int, int] = {}
    searches = 0
    for event, other in pairwise(events):
        change = _Change(outputs, event, other, max(1, rows))
        for s, output in change.seen([(s, s + 1) for s in positions]):
            pairs.add((output, s))
            last[output] = max(s, last.get(output, s))
        for s, output in change.seen([(s, t) for s in positions]):
            if last.get(output, -1) < s and searches < _LOCATED:
                searches += 1
                last[output] = last_seen(partial(change.sees, output), s, t)
                pairs.add((output, last[output]))
    return pairs


def last_seen(sees: Callable[[int], bool], start: int, end: int) -> int:
    """Return a position whose value has an effect, by bisection.

    Args:
        sees: whether changing all values from a position on has an effect.
        start: position for which `sees` is true.
        end: position for which `sees` is false.
    """
    while end - start > 1:
        middle = (start + end) // 2
        if sees(middle):
            start = middle
        else:
            end = middle
    # Changing the values from here on has an effect; from the next position on, it has none.
    return start


class _Change:
    """An event that is changed into another one, in passes of a fixed number of rows.

    Outputs are compared with those of the same row in a batch of the same size, since another row
    or size may be computed in another order.
    """

    def __init__(
        self, outputs: Outputs, event: Int64[Tensor, " t"], other: Int64[Tensor, " t"], rows: int
    ) -> None:
        """Compute the outputs of the event, then once more in a batch with other rows.

        Raises:
            InvalidInput: the outputs have another shape, or differ the second time.
        """
        self._outputs, self._other = outputs, other
        self._event = event.expand(rows, -1)
        self._expected = self._run(self._event.clone())
        x = other.expand(rows, -1).clone()
        x[0] = event
        if self._differs(x)[0].any():
            raise InvalidInput(
                "outputs: expected the same bits for the same event, got others when it was "
                "computed again with different rows; make them independent of random numbers, "
                "earlier calls and other rows in evaluation mode"
            )

    def seen(self, spans: Sequence[tuple[int, int]]) -> Iterator[tuple[int, int]]:
        """Change each span; yield its start with each output that changes at or before it."""
        rows = len(self._event)
        for i in range(0, len(spans), rows):
            part = spans[i : i + rows]
            x = self._event.clone()
            for row, (start, end) in enumerate(part):
                x[row, start:end] = self._other[start:end]
            differs = self._differs(x)
            for row, (start, _) in enumerate(part):
                yield from ((start, int(output)) for output in differs[row, : start + 1].nonzero())

    def sees(self, output: int, cut: int) -> bool:
        """Return whether an output changes if all values from the cut on are changed."""
        return any(each == output for _, each in self.seen([(cut, len(self._other))]))

    def _differs(self, x: Int64[Tensor, "b t"]) -> Bool[Tensor, "b t"]:
        """Return where any bit of an output differs; NaN equals NaN."""
        got, expected = self._run(x), self._expected
        differs = (got != expected) & ~((got != got) & (expected != expected))
        return differs.reshape(*x.shape, -1).any(dim=2).cpu()

    def _run(self, x: Int64[Tensor, "b t"]) -> Tensor:
        result = self._outputs(x)
        if result.ndim < 2 or result.shape[:2] != x.shape:
            raise InvalidInput(
                f"outputs: expected shape [b, t, ...] with [b, t] = {[*x.shape]}, got "
                f"{[*result.shape]}"
            )
        return result
