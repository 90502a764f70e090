"""Whether an output sees the future: that of position t may depend on x_0 .. x_(t-1) alone.

Two tests, for each sees what the other does not. Values are changed, one or all from a position on:
no output up to there may change a bit. And derivatives of outputs by embeddings of their own value
and of later ones must be exactly 0, which shows what is too small to change a bit.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from ancestral.dataspec import DataSpec
from ancestral.errors import InvalidInput
from ancestral.train.derivatives import derivative_pairs
from ancestral.train.evaluation import evaluating
from ancestral.train.models.autoregressive import AutoregressiveModel
from ancestral.train.perturbation import CHANGES, Outputs, changed_pairs, random_events

How = Literal["value", "derivative"]
MOST = 64
"""Positions that are tested in a long event."""
_FEWEST = 4
_WORK = 2e11
"""Multiplications that a test may cost about; fewer positions of a large model are tested."""
_SHORTEST = 64
_OUTPUTS = 2**22
"""Outputs of an event; of a longer one its first positions are tested."""
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
        length: positions of an event, as far as it was given.
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
            f"{f'; and {more} more' if more > 0 else ''}; {tested}"
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
    hows = ", ".join(sorted({leak.how for leak in leaks}, reverse=True))
    return f"output {leaks[0].output} sees x at {named} ({hows})"


def check_causality(
    model: AutoregressiveModel, *, most: int | None = None, seed: int = 0
) -> CausalityReport:
    """Test `predict` of a model, as it is but in evaluation mode.

    Args:
        model: neither it nor the global random generator is changed.
        most: positions to test; where None, as many as take seconds: 64, fewer of a large model.
            Of long events of many levels they are among the first positions, which alone are given.
        seed: of the events, and of the choice among more positions.

    Raises:
        InvalidInput: outputs of another shape than [b, t, p], random ones, or rows that depend on
            each other; or fewer than one position is asked for.
    """
    classes, t = model.data.num_classes, model.data.length
    if model.takes_prefixes:
        t = min(t, max(_SHORTEST, _OUTPUTS // model.data.levels))
    if most is None:
        looked_up = sum(m.weight.numel() for m in model.modules() if isinstance(m, nn.Embedding))
        numbers = sum(parameter.numel() for parameter in model.parameters()) - looked_up
        passes = _WORK / max(1, numbers * t)
        most = min(MOST, max(_FEWEST, int(passes / (2 * CHANGES + 3))))

    def outputs(x: Tensor) -> Tensor:
        label = None if classes is None else torch.arange(len(x), device=x.device) % classes
        return model.predict(x, label)

    positions = positions_to_test(model.data, most, seed, t)
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
        outputs: of an event they must be the same bits each time, whatever the other rows are.
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
    with evaluating(module) as device:
        events = random_events(length, levels, seed).to(device)
        changed = changed_pairs(outputs, events, positions, levels)
        derived, embeddings = set[tuple[int, int]](), 0
        if module is not None:
            with torch.enable_grad():
                derived, embeddings = derivative_pairs(outputs, module, events, positions, seed)
    leaks = [Leak(*pair, "value") for pair in changed]
    leaks += [Leak(*pair, "derivative") for pair in derived]
    return CausalityReport(tuple(sorted(leaks)), tuple(positions), length, embeddings)


def positions_to_test(
    data: DataSpec, most: int, seed: int, length: int | None = None
) -> tuple[int, ...]:
    """The first two, the last, both sides of the edges of rows, and others by seed, in order.

    A row goes along all axes but the one that changes least often in the data's ordering.

    Args:
        data: the space of events.
        most: so many positions.
        seed: of the choice.
        length: of the first positions of an event; of all where None.

    Raises:
        InvalidInput: `most` is less than 1.
    """
    if most < 1:
        raise InvalidInput(f"positions: expected an integer >= 1, got {most}")
    t = data.length if length is None else length
    if t <= most:
        return tuple(range(t))
    place = np.stack(np.unravel_index(data.order, data.event_shape))[:, :t]
    moves = place[:, 1:] != place[:, :-1]
    edges = np.flatnonzero(moves[moves.sum(axis=1).argmin()]) if len(place) > 1 else np.arange(0)
    random = np.random.default_rng(seed)
    either = random.permutation(np.concatenate([edges, edges + 1]))
    # Some inside of rows, however many rows there are.
    either = either[: max(0, most - 3 - max(1, most // 16))]
    wanted = [0, t - 1, 1, *either.tolist(), *random.permutation(t).tolist()]
    return tuple(sorted(list(dict.fromkeys(wanted))[:most]))
