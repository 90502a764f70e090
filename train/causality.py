"""Whether an output sees the future: that of position t may depend on x_0 .. x_(t-1) alone.

Two tests, for each sees what the other does not. Values are changed, one or all from a position on:
no output up to there may change a bit. And derivatives of outputs by embeddings of their own value
and of later ones must be exactly 0, which shows what is too small to change a bit. Several values
are tried at each place, for what sees one of them may be blind for another.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby, pairwise
from math import gcd
from typing import Literal, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Int64
from torch import Tensor, nn

from ancestral.dataspec import DataSpec
from ancestral.errors import InvalidInput
from ancestral.train.derivatives import Outputs, derivative_pairs
from ancestral.train.models.autoregressive import AutoregressiveModel

How = Literal["value", "derivative"]
MOST = 64
"""Positions that are tested in a long event."""
_FEWEST = 5
_CHANGES = 4
"""Values that each tested value is changed into, from as many events."""
_WORK = 1e12
"""Multiplications that a test may cost about; fewer positions of a large model are tested."""
_NUMBERS = 2**25
"""Outputs or attention weights of 8 heads that one pass may hold."""
_ROWS = 64
_LOCATED = 8
"""Of what is seen only where many values change together, so often the place is searched."""
_NAMED = 4
"""Positions, and inputs of each, that a sentence names."""


class Leak(NamedTuple):
    """An output that sees a value which it must not see.

    Attributes:
        output: position of the output.
        input: position of the value, the same or a later one.
        how: it changes with the value, or has a derivative by its embedding.
    """

    output: int
    input: int
    how: How


@dataclass(frozen=True, slots=True)
class CausalityReport:
    """Which outputs see which values of the future, as far as was tested.

    Attributes:
        leaks: by output, then input. Each is certain; where there are some, there may be others.
        positions: those whose values were changed, and by which derivatives were taken.
        length: positions of an event.
        embeddings: calls of nn.Embedding by which derivatives were taken; 0 where none could be,
            and changed values were the whole test.
    """

    leaks: tuple[Leak, ...]
    positions: tuple[int, ...]
    length: int
    embeddings: int

    @property
    def passed(self) -> bool:
        """Whether no output was seen to see the future."""
        return not self.leaks

    @property
    def sentence(self) -> str:
        """The result for people, which names the first positions that leak."""
        count = len(self.positions)
        where = f"{count} of {self.length}" if count < self.length else f"all {count}"
        tested = f"values were changed at {where} positions, and " + (
            f"derivatives taken by {self.embeddings} embedding{'s'[: self.embeddings > 1]} of them"
            if self.embeddings
            else "no derivatives taken, for nothing goes from an nn.Embedding of them to an output"
        )
        if self.passed:
            return f"no output sees its own value or a later one: {tested}"
        by_output = [list(group) for _, group in groupby(self.leaks, lambda leak: leak.output)]
        first = "; ".join(_in_words(leaks) for leaks in by_output[:_NAMED])
        more = len(by_output) - _NAMED
        return (
            f"{len(by_output)} of {self.length} outputs see their own value or a later one: {first}"
            f"{f'; and {more} more' if more > 0 else ''} ({tested})"
        )

    def to_json(self) -> dict[str, object]:
        """All fields, with `passed` and `sentence`."""
        return {
            "passed": self.passed,
            "sentence": self.sentence,
            "length": self.length,
            "positions": list(self.positions),
            "embeddings": self.embeddings,
            "leaks": [leak._asdict() for leak in self.leaks],
        }


def _in_words(leaks: Sequence[Leak]) -> str:
    """What one output sees."""
    inputs = sorted({leak.input for leak in leaks})
    more = len(inputs) - _NAMED
    named = ", ".join(str(s) for s in inputs[:_NAMED]) + (f" and {more} more" if more > 0 else "")
    hows = " and ".join(sorted({leak.how for leak in leaks}, reverse=True))
    return f"output {leaks[0].output} sees x at {named} by {hows}"


def check_causality(
    model: AutoregressiveModel, *, most: int | None = None, seed: int = 0
) -> CausalityReport:
    """Test `predict` of a model, as it is but in evaluation mode.

    Args:
        model: neither it nor the global random generator is changed.
        most: positions to test; where None, as many as take seconds: 64, fewer of a large model.
        seed: of the events, and of the choice among more positions.

    Raises:
        InvalidInput: the model gives outputs of another shape than [b, t, p], or other ones each
            time, or fewer than one position is asked for.
    """
    classes, t = model.data.num_classes, model.data.length
    if most is None:
        looked_up = sum(m.weight.numel() for m in model.modules() if isinstance(m, nn.Embedding))
        numbers = sum(parameter.numel() for parameter in model.parameters()) - looked_up
        passes = _WORK / max(1, numbers * t)
        most = min(MOST, max(_FEWEST, int(passes / (2 * _CHANGES + 3))))

    def outputs(x: Tensor) -> Tensor:
        label = None if classes is None else torch.arange(len(x), device=x.device) % classes
        return model.predict(x, label)

    positions = tested_positions(model.data, most, seed)
    return check_outputs(outputs, t, model.data.levels, positions, module=model, seed=seed)


def check_outputs(
    outputs: Outputs,
    length: int,
    levels: int,
    positions: Sequence[int] | None = None,
    *,
    module: nn.Module | None = None,
    seed: int = 0,
) -> CausalityReport:
    """Test any function of events: x [b, t] int64 -> outputs [b, t, ...].

    Args:
        outputs: must give equal bits for equal events; a row must not depend on the others.
        length: of the events, t.
        levels: values are 0 .. levels - 1.
        positions: to test; all where None.
        module: what the function runs, for derivatives by its embeddings, and for the device; it is
            in evaluation mode meanwhile. Where None, changed values are the whole test.
        seed: of the events.

    Raises:
        InvalidInput: as in `check_causality`.
    """
    positions = range(length) if positions is None else sorted(set(positions))
    if not positions or not 0 <= positions[0] <= positions[-1] < length:
        raise InvalidInput(f"positions: expected some of 0 .. {length - 1}, got {positions}")
    tensors = [] if module is None else [*module.parameters(), *module.buffers()]
    events = _events(length, levels, seed).to(tensors[0].device if tensors else "cpu")
    rows = min(_ROWS, 2 * len(positions), _NUMBERS // (length * max(levels, 8 * length, 1024)))
    with _evaluating(module):
        leaks = _Values(outputs, max(1, rows)).leaks(events, positions)
        pairs: set[tuple[int, int]] = set()
        embeddings = 0
        if module is not None:
            pairs, embeddings = derivative_pairs(outputs, module, events, positions, seed)
    leaks |= {Leak(output, s, "derivative") for output, s in pairs}
    return CausalityReport(tuple(sorted(leaks)), tuple(positions), length, embeddings)


def tested_positions(data: DataSpec, most: int, seed: int) -> tuple[int, ...]:
    """The first two, the last, both sides of the edges of rows, and others by seed, in order.

    A row goes along all axes but the one that changes least often in the data's ordering.

    Raises:
        InvalidInput: `most` is less than 1.
    """
    if most < 1:
        raise InvalidInput(f"positions: expected an integer >= 1, got {most}")
    t = data.length
    if t <= most:
        return tuple(range(t))
    place = np.stack(np.unravel_index(data.order, data.event_shape))
    moves = place[:, 1:] != place[:, :-1]
    edges = np.flatnonzero(moves[moves.sum(axis=1).argmin()]) if len(place) > 1 else np.arange(0)
    random = np.random.default_rng(seed)
    either = random.permutation(np.concatenate([edges, edges + 1]))
    wanted = [0, t - 1, 1, *either.tolist(), *random.permutation(t).tolist()]
    return tuple(sorted(list(dict.fromkeys(wanted))[:most]))


def _events(length: int, levels: int, seed: int) -> Int64[Tensor, "n t"]:
    """Random events; at each position their values walk through the levels, all where few.

    So a function of one value that is not constant differs between two consecutive events.
    """
    random = np.random.default_rng(seed)
    strides = [step for step in range(1, levels) if gcd(step, levels) == 1] or [0]
    start, stride = random.integers(0, levels, length), random.choice(strides, length)
    steps = np.arange(_CHANGES + 1)[:, None]
    return torch.from_numpy(np.asarray((start + steps * stride) % levels, dtype=np.int64))


@contextmanager
def _evaluating(module: nn.Module | None) -> Iterator[None]:
    """Evaluation mode; each part is put back into its own mode."""
    before = [] if module is None else [(part, part.training) for part in module.modules()]
    for part, _ in before:
        part.training = False
    try:
        yield
    finally:
        for part, training in before:
            part.training = training


@dataclass(frozen=True, slots=True)
class _Values:
    """The test by changed values, so many rows at a time.

    Outputs are compared with those of the same row among as many: another row or another size may
    be computed in another order.
    """

    outputs: Outputs
    rows: int

    def leaks(self, events: Int64[Tensor, "n t"], positions: Sequence[int]) -> set[Leak]:
        """What outputs see where each event is changed into the next, at and from each position.

        Raises:
            InvalidInput: equal events have unequal outputs.
        """
        leaks: set[Leak] = set()
        last: dict[int, int] = {}
        searches = 0
        t = events.shape[1]
        for event, other in pairwise(events):
            expected = self._expected(event)
            for s, output in self._seen(event, other, [(s, s + 1) for s in positions], expected):
                leaks.add(Leak(output, s, "value"))
                last[output] = max(s, last.get(output, s))
            for s, output in self._seen(event, other, [(s, t) for s in positions], expected):
                if last.get(output, -1) < s and searches < _LOCATED:
                    searches += 1
                    last[output] = self._locate(event, other, (s, output), expected)
                    leaks.add(Leak(output, last[output], "value"))
        return leaks

    def _expected(self, event: Int64[Tensor, " t"]) -> Tensor:
        """Outputs of an event in every row."""
        x = event.expand(self.rows, -1).clone()
        expected = self._run(x)
        if self._differs(x, expected).any():
            raise InvalidInput(
                "outputs: expected equal bits for equal events, got others the second time: what "
                "is random, or depends on earlier calls, has no place in evaluation mode"
            )
        return expected

    def _seen(
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

    def _locate(
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
            pairs = self._seen(event, other, [(middle, len(event))], expected)
            if any(each == output for _, each in pairs):
                low = middle
            else:
                high = middle
        return low

    def _differs(self, x: Int64[Tensor, "b t"], expected: Tensor) -> Bool[Tensor, "b t"]:
        """Where any bit of an output is another; NaN is like NaN."""
        got = self._run(x)
        differs = (got != expected) & ~((got != got) & (expected != expected))
        return differs.flatten(2).any(dim=2).cpu()

    def _run(self, x: Int64[Tensor, "b t"]) -> Tensor:
        with torch.no_grad():
            result = self.outputs(x)
        if result.ndim < 2 or result.shape[:2] != x.shape:
            raise InvalidInput(
                f"outputs: expected [b, t, ..] = {[*x.shape]} and more axes, got {[*result.shape]}"
            )
        return result
