"""Test whether an output sees the future: output t may depend only on x_0 .. x_(t-1).

There are two tests, since each finds leaks that the other misses. The first changes one value, or
all values from a position on: no output up to that position may change a bit. In the second, the
derivatives of an output with respect to the embeddings of its own and later values must be exactly
0; this finds leaks that are too small to change a bit.
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
"""Number of positions that are tested in a long event."""
_FEWEST = 4
_WORK = 2e11
"""Rough limit on the multiplications of a test; fewer positions of a large model are tested."""
_SHORTEST = 64
_OUTPUTS = 2**22
"""Largest number of outputs of an event; only the first positions of a longer one are tested."""
_NAMED = 4
"""Number of outputs, and of inputs for each, that a sentence lists."""


class Leak(NamedTuple):
    """An output that depends on a value which it must not see.

    Attributes:
        output: position of the output.
        input: position of the value, at or after the output.
        how: "value" if the output changes with the value, "derivative" if it has a nonzero
            derivative with respect to an embedding of the value.
    """

    output: int
    input: int
    how: How


@dataclass(frozen=True, slots=True)
class CausalityReport:
    """The outputs that were found to depend on their own value or a later one.

    Attributes:
        leaks: the leaks, ordered by output and input. Each one is certain; if there are any, there
            may be more.
        positions: positions whose values were changed, and whose outputs were differentiated.
        length: number of positions that were given to the model.
        embeddings: number of nn.Embedding calls through which derivatives were taken; 0 if there
            were none, and only changed values were tested.
    """

    leaks: tuple[Leak, ...]
    positions: tuple[int, ...]
    length: int
    embeddings: int

    @property
    def passed(self) -> bool:
        """Whether no leak was found."""
        return not self.leaks

    @property
    def sentence(self) -> str:
        """The result as a sentence, with the first positions that leak."""
        count = len(self.positions)
        where = f"{count} of {self.length}" if count < self.length else f"all {count}"
        tested = f"values were changed at {where} positions, and " + (
            f"derivatives taken through {self.embeddings} embedding{'s'[: self.embeddings > 1]}"
            if self.embeddings
            else "no derivatives taken, because no nn.Embedding connects the values to an output"
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
        """Return all fields, with `passed` and `sentence`."""
        return {
            "passed": self.passed,
            "sentence": self.sentence,
            "length": self.length,
            "positions": list(self.positions),
            "embeddings": self.embeddings,
            "leaks": [leak._asdict() for leak in self.leaks],
        }


def _in_words(leaks: Sequence[Leak]) -> str:
    """Return the inputs that one output depends on, as text."""
    inputs = sorted({leak.input for leak in leaks})
    more = len(inputs) - _NAMED
    named = ", ".join(str(s) for s in inputs[:_NAMED]) + (f" and {more} more" if more > 0 else "")
    hows = ", ".join(sorted({leak.how for leak in leaks}, reverse=True))
    return f"output {leaks[0].output} sees x at {named} ({hows})"


def check_causality(
    model: AutoregressiveModel, *, most: int | None = None, seed: int = 0
) -> CausalityReport:
    """Test that `predict` of a model does not see the future, in evaluation mode.

    Args:
        model: model to test. Neither it nor the global random generator is changed.
        most: number of positions to test; None tests as many as take a few seconds: 64, or fewer
            for a large model. For long events with many levels, only the first positions are given
            to the model.
        seed: seed of the events, and of the choice of positions.

    Raises:
        InvalidInput: the outputs do not have shape [b, t, p], are random, or depend on other rows
            of the batch; or `most` is less than 1.
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
        outputs: function to test. The outputs of an event must have the same bits each time,
            whatever the other rows of the batch are.
        length: number of positions t of the events.
        levels: number of levels; values are 0 .. levels - 1.
        positions: positions to test; None tests all.
        module: module that the function runs. Derivatives are taken through its embeddings, on its
            device, and it is in evaluation mode meanwhile. With None, only changed values are
            tested.
        seed: seed of the events.

    Raises:
        InvalidInput: as in `check_causality`.
    """
    positions = range(length) if positions is None else sorted(set(positions))
    if not positions or not 0 <= positions[0] <= positions[-1] < length:
        raise InvalidInput(f"positions: expected one or more of 0 .. {length - 1}, got {positions}")
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
    """Choose positions: the first two, the last, both sides of row edges, and others by seed.

    A row extends along all axes except the one that changes least often in the data's ordering.

    Args:
        data: space of the events.
        most: number of positions to choose.
        seed: seed of the choice.
        length: number of first positions to choose from; None means all.

    Returns:
        The positions, in order.

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
    # Leave room for positions inside rows, however many rows there are.
    either = either[: max(0, most - 3 - max(1, most // 16))]
    wanted = [0, t - 1, 1, *either.tolist(), *random.permutation(t).tolist()]
    return tuple(sorted(list(dict.fromkeys(wanted))[:most]))
