"""Which outputs change with which values: by changing one, and all from a position on.

Several values are tried at each place: what sees one of them may be blind for another.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import gcd

import numpy as np
import torch
from jaxtyping import Bool, Int64
from torch import Tensor

from ancestral.errors import InvalidInput

Outputs = Callable[[Tensor], Tensor]
"""x [b, t] int64 -> outputs [b, t, ...]."""
CHANGES = 4
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
        outputs: what is tested; a row must not depend on the others.
        events: each is changed into the next.
        positions: at which, and from which on, values are changed.
        levels: how many values there are.

    Returns:
        pairs (output, input) of positions. Of what is seen only where values change together there
        is one input for an output, and not for all where there are many.

    Raises:
        InvalidInput: outputs of another shape, or other ones for equal events.
    """
    t = events.shape[1]
    rows = min(_ROWS, 2 * len(positions), _NUMBERS // (t * max(levels, 8 * t, 1024)))
    passes = _Passes(outputs, max(1, rows))
    pairs: set[tuple[int, int]] = set()
    last: dict[int, int] = {}
    searches = 0
    for event, other in pairwise(events):
        expected = passes.expected(event)
        for s, output in passes.seen(event, other, [(s, s + 1) for s in positions], expected):
            pairs.add((output, s))
            last[output] = max(s, last.get(output, s))
        for s, output in passes.seen(event, other, [(s, t) for s in positions], expected):
            if last.get(output, -1) < s and searches < _LOCATED:
                searches += 1
                last[output] = passes.locate(event, other, (s, output), expected)
                pairs.add((output, last[output]))
    return pairs


@dataclass(frozen=True, slots=True)
class _Passes:
    """Passes of so many rows.

    Outputs are compared with those of the same row among as many: another row or another size may
    be computed in another order.
    """

    outputs: Outputs
    rows: int

    def expected(self, event: Int64[Tensor, " t"]) -> Tensor:
        """Outputs of an event in every row.

        Raises:
            InvalidInput: equal events have unequal outputs.
        """
        x = event.expand(self.rows, -1).clone()
        expected = self._run(x)
        if self._differs(x, expected).any():
            raise InvalidInput(
                "outputs: expected equal bits for equal events, got others the second time: what "
                "is random, or depends on earlier calls, has no place in evaluation mode"
            )
        return expected

    def seen(
        self,
        event: Int64[Tensor, " t"],
        other: Int64[Tensor, " t"],
        spans: Sequence[tuple[int, int]],
        expected: Tensor,
    ) -> Iterator[tuple[int, int]]:
        """Where a span of the event is the other's: its start, and each output there or before."""
        for i in range(0, len(spans), self.rows):
            part = spans[i : i + self.rows]
            x = event.expand(self.rows, -1).clone()
            for row, (start, end) in enumerate(part):
                x[row, start:end] = other[start:end]
            differs = self._differs(x, expected)
            for row, (start, _) in enumerate(part):
                yield from ((start, int(output)) for output in differs[row, : start + 1].nonzero())

    def locate(
        self,
        event: Int64[Tensor, " t"],
        other: Int64[Tensor, " t"],
        seen: tuple[int, int],
        expected: Tensor,
    ) -> int:
        """The place of a value that an output sees, given that it sees a change from a start on.

        From `low` on the change is seen, from `high` on it is not; so in the end it is that at low.
        """
        (low, output), high = seen, len(event)
        while high - low > 1:
            middle = (low + high) // 2
            pairs = self.seen(event, other, [(middle, len(event))], expected)
            if any(each == output for _, each in pairs):
                low = middle
            else:
                high = middle
        return low

    def _differs(self, x: Int64[Tensor, "b t"], expected: Tensor) -> Bool[Tensor, "b t"]:
        """Where any bit of an output is another; NaN is like NaN."""
        got = self._run(x)
        differs = (got != expected) & ~((got != got) & (expected != expected))
        return differs.reshape(*x.shape, -1).any(dim=2).cpu()

    def _run(self, x: Int64[Tensor, "b t"]) -> Tensor:
        with torch.no_grad():
            result = self.outputs(x)
        if result.ndim < 2 or result.shape[:2] != x.shape:
            raise InvalidInput(
                f"outputs: expected [b, t, ..] = {[*x.shape]} and more axes, got {[*result.shape]}"
            )
        return result
