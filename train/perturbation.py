"""Which outputs change with which values: by changing one, and all from a position on.

Several values are tried at each place: what sees one of them may be blind for another.
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
"""x [b, t] int64 -> outputs [b, t, ...]."""
CHANGES = 3
"""Values that each value is changed into, in as many events."""
_NUMBERS = 2**25
"""Outputs, or attention weights of 8 heads, that one pass may hold."""
_ROWS = 64
_LOCATED = 8
"""Of what is seen only where many values change together, so often the place is searched."""


def random_events(length: int, levels: int, seed: int) -> Int64[Tensor, "n t"]:
    """Events whose values walk through the levels from each to the next; all levels, where few.

    So a function of one value that is not constant differs between two consecutive events.
    """
    random = np.random.default_rng(seed)
    strides = [step for step in range(1, levels) if gcd(step, levels) == 1] or [0]
    start, stride = random.integers(0, levels, length), random.choice(strides, length)
    steps = np.arange(CHANGES + 1)[:, None]
    return torch.from_numpy(np.asarray((start + steps * stride) % levels, dtype=np.int64))


def changed_pairs(
    outputs: Outputs, events: Int64[Tensor, "n t"], positions: Sequence[int], levels: int
) -> set[tuple[int, int]]:
    """Where an output changes a bit with its own value or a later one.

    Args:
        outputs: what is tested.
        events: each is changed into the next.
        positions: at which, and from which on, values are changed.
        levels: how many values there are.

    Returns:
        pairs (output, input) of positions. Of what is seen only where values change together there
        is one input for an output, and not for all where there are many.

    Raises:
        InvalidInput: outputs of another shape, random ones, or rows that depend on each other.
    """
    t = events.shape[1]
    # In few rows, for all of them hold the event itself twice.
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
    """The position of a value that is seen, by halving.

    Args:
        sees: whether a change of all values from a position on is seen.
        start: from here on it is.
        end: from here on it is not.
    """
    while end - start > 1:
        middle = (start + end) // 2
        if sees(middle):
            start = middle
        else:
            end = middle
    # The change from here on is seen, that from the next position on is not.
    return start


class _Change:
    """One event that becomes another, in passes of so many rows.

    Outputs are compared with those of the same row among as many: another row or another size may
    be computed in another order.
    """

    def __init__(
        self, outputs: Outputs, event: Int64[Tensor, " t"], other: Int64[Tensor, " t"], rows: int
    ) -> None:
        """Compute the outputs of the event, and once more among other rows.

        Raises:
            InvalidInput: outputs of another shape, or other ones the second time.
        """
        self._outputs, self._other = outputs, other
        self._event = event.expand(rows, -1)
        self._expected = self._run(self._event.clone())
        x = other.expand(rows, -1).clone()
        x[0] = event
        if self._differs(x)[0].any():
            raise InvalidInput(
                "outputs: expected those of an event to keep their bits, got others when it was "
                "computed again beside other rows: in evaluation mode they must depend on nothing "
                "random, on no earlier call and on no other row"
            )

    def seen(self, spans: Sequence[tuple[int, int]]) -> Iterator[tuple[int, int]]:
        """Where a span of the event is the other's: its start, and each output there or before."""
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
        """Whether an output changes where all values from the cut on are the other's."""
        return any(each == output for _, each in self.seen([(cut, len(self._other))]))

    def _differs(self, x: Int64[Tensor, "b t"]) -> Bool[Tensor, "b t"]:
        """Where any bit of an output is another; NaN is like NaN."""
        got, expected = self._run(x), self._expected
        differs = (got != expected) & ~((got != got) & (expected != expected))
        return differs.reshape(*x.shape, -1).any(dim=2).cpu()

    def _run(self, x: Int64[Tensor, "b t"]) -> Tensor:
        result = self._outputs(x)
        if result.ndim < 2 or result.shape[:2] != x.shape:
            raise InvalidInput(
                f"outputs: expected [b, t, ..] = {[*x.shape]} and more axes, got {[*result.shape]}"
            )
        return result
