"""The sampling loop: write once, prefill, then many steps a launch, then read once.

Of the engine, only this file writes and reads the step graph's tensors by name.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ancestral import step_tensors as names
from ancestral.engine.noise import Noise
from ancestral.engine.session import Array, Binding
from ancestral.errors import BundleError, NotADistribution
from ancestral.sampling import Sampling
from ancestral.signature import GraphSignature, Update

STEPS_PER_LAUNCH = 64
"""Between two launches the host may report progress and be interrupted."""
_TOLD = 8
"""Samples that an error names."""

OnSteps = Callable[[int], object]
"""Called after each launch with the number of positions that it did."""


@dataclass(frozen=True, slots=True)
class Start:
    """What a loop begins with.

    Attributes:
        observed: [b, t], -1 where free.
        given: label [b], filters [b]: what else the graph is given; u [b, t] without noise.
        first_position: where the model begins.
        prefill: run what all rows observe as one block; only where the graph takes blocks.
        noise: what the rows draw with.
    """

    observed: NDArray[np.int64]
    given: Mapping[str, Array] = field(default_factory=dict)
    first_position: int = 0
    prefill: bool = True
    noise: Noise | None = None

    @property
    def filtered(self) -> bool:
        """Whether values are drawn from a filtered distribution."""
        return names.FILTERS[0] in self.given


@dataclass(frozen=True, slots=True)
class LoopResult:
    """What a loop leaves: values [b, t]; log-probs of the drawn and of the model [b, t], nats."""

    values: NDArray[np.int64]
    log_p: NDArray[np.float32]
    log_q: NDArray[np.float32]


def draw(binding: Binding, start: Start, on_steps: OnSteps = lambda steps: None) -> LoopResult:
    """Draw every free position of a batch, in order.

    Args:
        binding: of a step graph, of as many rows.
        start: what the loop begins with.
        on_steps: called after each launch.
    """
    done = begin(binding, start, on_steps)
    advance(binding, start.observed.shape[1] - done, on_steps)
    return result(binding, start)


def begin(binding: Binding, start: Start, on_steps: OnSteps = lambda steps: None) -> int:
    """Write what a loop begins with, and run what all rows observe as one block.

    Returns:
        the next position of every row.
    """
    observed, first = start.observed, start.first_position
    if start.noise is not None:
        binding.draw_from(start.noise)
    for name, array in start.given.items():
        binding.write(name, array)
    binding.write(names.OBSERVED, observed)
    binding.write(names.VALUES, np.maximum(observed, 0))
    binding.write(names.POSITION, np.full(len(observed), first, np.int64))
    for name in (names.LOG_P, names.LOG_Q) if start.filtered else (names.LOG_P,):
        binding.write(name, np.zeros(observed.shape, np.float32))
    prefix = int(np.argmin(np.append((observed >= 0).all(axis=0), False)))
    # The block ends before t - 1: there the next position would be clamped to the last one.
    block: int = min(prefix, observed.shape[1] - 1) - first
    if not start.prefill or block <= 1:
        return first
    binding.run(block=block)
    on_steps(block)
    return first + block


def advance(binding: Binding, steps: int, on_steps: OnSteps = lambda steps: None) -> None:
    """Run so many steps, in launches of a bounded number."""
    while steps > 0:
        launch = min(STEPS_PER_LAUNCH, steps)
        binding.run(launch)
        on_steps(launch)
        steps -= launch


def rewind(binding: Binding, position: NDArray[np.int64], observed: NDArray[np.int64]) -> None:
    """Put each row at a position [b]; from there on, what it observes [b, t] counts."""
    binding.write(names.OBSERVED, observed)
    binding.write(names.POSITION, position)


def resume(
    binding: Binding, cache: Mapping[str, Array], position: int, past: NDArray[np.float32]
) -> None:
    """Put all rows at a position, with the cache and the log p [b, t] that belong before it."""
    for name, array in cache.items():
        binding.write(name, array)
    binding.write(names.POSITION, np.full(len(past), position, np.int64))
    log_p = read_log_p(binding)
    log_p[:, : past.shape[1]] = past
    binding.write(names.LOG_P, log_p)


def result(binding: Binding, start: Start) -> LoopResult:
    """What the loop has left so far."""
    log_p = read_log_p(binding)
    log_q = np.where(start.observed >= 0, np.float32(0), log_p)
    return LoopResult(
        read_values(binding), log_p, binding.read(names.LOG_Q) if start.filtered else log_q
    )


def read_values(binding: Binding) -> NDArray[np.int64]:
    """Observed and drawn values, [b, t]."""
    return binding.read(names.VALUES)


def read_log_p(binding: Binding) -> NDArray[np.float32]:
    """Log-probability of each value under the model, in nats, [b, t]."""
    return binding.read(names.LOG_P)


def check(log_p: NDArray[np.float32], first_index: int) -> None:
    """Refuse what was drawn from no distribution.

    Args:
        log_p: of each position of consecutive samples, [b, t].
        first_index: sample index of the first.

    Raises:
        NotADistribution: a log-probability is NaN; the samples are named.
    """
    rows, positions = np.nonzero(np.isnan(log_p))
    if len(rows):
        found = dict(zip(reversed(rows.tolist()), reversed(positions.tolist()), strict=True))
        told = [f"{first_index + row} (position {found[row]})" for row in sorted(found)]
        raise NotADistribution(
            f"logits: expected finite ones, or some that are, got none of sample "
            f"{', '.join(told[:_TOLD])}{', ...' if len(told) > _TOLD else ''}: the "
            f"weights may hold NaN, or activations overflow in this dtype"
        )


def check_values(values: NDArray[np.int64], levels: int) -> None:
    """Refuse drawn values that are not levels: pictures and tokenizers look them up.

    Args:
        values: of any shape.
        levels: of the data.

    Raises:
        BundleError: one is not.
    """
    if values.size and not (values.min() >= 0 and values.max() < levels):
        wrong = values[(values < 0) | (values >= levels)][0]
        raise BundleError(
            f"graph: expected drawn values in 0 .. {levels - 1}, got {wrong}: the bundle's graph "
            f"does not do what its manifest says; export it again, or fetch it anew"
        )


def graph_of(sampling: Sampling) -> str:
    """The name of the step graph that draws so."""
    return "step" if sampling.unfiltered else "step_filtered"


def takes_blocks(signature: GraphSignature) -> bool:
    """Whether a step graph does several positions at a time."""
    return any(spec.name == names.OFFSETS for spec in signature.inputs)


def rewinds(signature: GraphSignature, t: int) -> bool:
    """Whether rows may go back after a block: all of the cache is appended to t slots."""
    cache = [pair for pair in signature.carried if pair.input not in names.STATE]
    return takes_blocks(signature) and all(
        pair.update is Update.APPEND and t in signature.input(pair.input).axes for pair in cache
    )


def labelled(label: Array | None) -> dict[str, Array]:
    """The label of each row [b] as graphs are given it; nothing without classes."""
    return {} if label is None else {names.LABEL: np.ascontiguousarray(label)}


def filters(sampling: Sampling, rows: int, levels: int) -> dict[str, Array]:
    """The settings of a draw for each row; none where nothing is filtered."""
    return {} if sampling.unfiltered else filter_rows(sampling, rows, levels)


def filter_rows(sampling: Sampling, rows: int, levels: int) -> dict[str, Array]:
    """What a filtered step is given, the same for each row."""
    settings = sampling.settings(levels).items()
    return {name: np.full(rows, value, names.tensor(name, "b").host) for name, value in settings}
