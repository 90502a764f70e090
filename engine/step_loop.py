"""The sampling loop: write the inputs, prefill, launch many steps at a time, read the results.

The features of the engine reach the step graph's tensors only through this file, `row_loop`, which
treats single rows, and `step_graph`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from ancestral import step_tensors as names
from ancestral.engine.alternatives import Alternatives
from ancestral.engine.noise import Noise
from ancestral.engine.session import Array, Binding, Part, Session

STEPS_PER_LAUNCH = 64
"""Between two launches the host may report progress and be interrupted."""

OnSteps = Callable[[int], object]
"""Called after each launch with the number of positions that it completed."""


@dataclass(frozen=True, slots=True)
class Start:
    """The inputs of a loop.

    Attributes:
        observed: observed values, [b, t]; -1 where free.
        given: other inputs of the graph: label [b], settings [b], and u [b, t] without `noise`.
        first_position: first position that is run.
        prefill: run the positions that all rows observe as one block; the graph must take blocks.
        noise: noise that the rows draw with.
        filling: session that prefills without predictions; None for the step graph.
        redraws: whether blocks draw values of a single row. Its uniforms are written then, since
            the kernel that computes them draws single positions only.
    """

    observed: NDArray[np.int64]
    given: Mapping[str, Array] = field(default_factory=dict)
    first_position: int = 0
    prefill: bool = True
    noise: Noise | None = None
    filling: Session | None = None
    redraws: bool = False

    @property
    def tempered(self) -> bool:
        """Whether the graph draws at a temperature, and so keeps log q."""
        return names.TEMPERATURE in self.given


@dataclass(frozen=True, slots=True)
class LoopResult:
    """What a loop leaves.

    Attributes:
        values: observed and drawn values, [b, t].
        log_p: log-probability of each value under the model, in nats, [b, t].
        log_q: log-probability under the distribution drawn from, in nats, [b, t].
    """

    values: NDArray[np.int64]
    log_p: NDArray[np.float32]
    log_q: NDArray[np.float32]


def draw(binding: Binding, start: Start, on_steps: OnSteps = lambda steps: None) -> LoopResult:
    """Draw every unobserved position of a batch, in order.

    Args:
        binding: binding of a step graph with as many rows as `start`.
        start: inputs of the loop.
        on_steps: called after each launch.
    """
    done = begin(binding, start, on_steps)
    advance(binding, start.observed.shape[1] - done, on_steps)
    return result(binding, start)


def begin(binding: Binding, start: Start, on_steps: OnSteps = lambda steps: None) -> int:
    """Write the inputs of a loop, and run the first positions that all rows observe as one block.

    Returns:
        The next position, the same for every row.
    """
    observed, first = start.observed, start.first_position
    if start.noise is not None and start.redraws:
        binding.write(names.U, start.noise.row(observed.shape[1])[None])
    elif start.noise is not None:
        binding.draw_from(start.noise)
    for name, array in start.given.items():
        binding.write(name, array)
    binding.write(names.OBSERVED, observed)
    binding.write(names.VALUES, np.maximum(observed, 0))
    binding.write(names.POSITION, np.full(len(observed), first, np.int64))
    for name in (names.LOG_P, names.LOG_Q) if start.tempered else (names.LOG_P,):
        binding.write(name, np.zeros(observed.shape, np.float32))
    prefix = int(np.argmin(np.append((observed >= 0).all(axis=0), False)))
    # The block ends before t - 1: there the next position would be clamped to the last one.
    block: int = min(prefix, observed.shape[1] - 1) - first
    if not start.prefill or block <= 1:
        return first
    if start.filling is None:
        binding.run(block=block)
    else:
        binding.fill(start.filling, first, block, slice(0, len(observed)))
        place(binding, np.full(len(observed), first + block, np.int64))
    on_steps(block)
    return first + block


def begin_prompts(
    binding: Binding, start: Start, lengths: NDArray[np.int64], *, rewinds: bool
) -> NDArray[np.int64]:
    """Write the inputs of a loop, and run the block of prompts of different lengths.

    Args:
        binding: binding of a step graph with as many rows as `start`.
        start: inputs of the loop; each row observes its prompt.
        lengths: number of values of each prompt, [b].
        rewinds: whether rows may go back after a block, as `rewinds` returns. The block then runs
            the longest prompt, with padding in the other rows; otherwise the positions that all
            rows observe.

    Returns:
        The next position of each row, [b].
    """
    observed = start.observed
    if not rewinds:
        return np.full(len(observed), begin(binding, start), np.int64)
    filled = observed.copy()
    longest = filled[:, : int(lengths.max())]
    longest[longest < 0] = 0
    done = begin(binding, replace(start, observed=filled))
    position: NDArray[np.int64] = np.clip(lengths, start.first_position, done)
    rewind(binding, position, observed)
    return position


def advance(binding: Binding, steps: int, on_steps: OnSteps = lambda steps: None) -> None:
    """Run `steps` steps, in launches of at most STEPS_PER_LAUNCH."""
    while steps > 0:
        launch = min(STEPS_PER_LAUNCH, steps)
        binding.run(launch)
        on_steps(launch)
        steps -= launch


def redraw(
    binding: Binding, position: int, proposed: NDArray[np.int64], row: int | None = None
) -> NDArray[np.int64]:
    """Draw a block of positions of a single row, each given the proposals before it.

    Args:
        binding: binding of a step graph, whose cache holds the row's positions before.
        position: first position of the block.
        proposed: proposals for the values at position, position + 1, .., [s - 1].
        row: the row; None if the binding has no other. No other row changes.

    Returns:
        What is drawn, or observed, at each position of the block, [s].
    """
    block = len(proposed) + 1
    some = slice(1) if row is None else slice(row, row + 1)
    if block > 1:
        part = (some, slice(position, position + block - 1))
        binding.write(names.VALUES, proposed[None], part)
    binding.write(names.POSITION, np.array([position], np.int64), some)
    binding.run(block=block, rows=None if row is None else some)
    drawn: NDArray[np.int64] = read_values(binding, (some, slice(position, position + block)))[0]
    return drawn


def walk(binding: Binding, position: int, steps: int, row: int | None = None) -> NDArray[np.int64]:
    """Draw the next positions of a single row step by step; arguments as in `redraw`, [steps]."""
    some = slice(1) if row is None else slice(row, row + 1)
    binding.write(names.POSITION, np.full(1, position, np.int64), some)
    binding.run(steps, rows=None if row is None else some)
    drawn: NDArray[np.int64] = read_values(binding, (some, slice(position, position + steps)))[0]
    return drawn


def follow(binding: Binding, before: NDArray[np.int64], at: int, steps: int) -> NDArray[np.int64]:
    """Draw the next values of a single row, after values that it may not have drawn itself.

    Args:
        binding: binding of a step graph with one row, whose cache holds the positions before `at`.
        before: values of the row so far, [n].
        at: first position that is run, at most n.
        steps: number of values to draw.

    Returns:
        The values at positions n, n + 1, .., [steps].
    """
    position = len(before)
    written = max(at - 1, 0)
    if written < position:
        binding.write(names.VALUES, before[None, written:], (slice(1), slice(written, position)))
    binding.write(names.POSITION, np.full(1, at, np.int64))
    binding.run(block=position - at + 1)
    if steps > 1:
        binding.run(steps - 1)
    drawn: NDArray[np.int64] = read_values(binding, (slice(1), slice(position, position + steps)))[
        0
    ]
    return drawn


def place(binding: Binding, position: NDArray[np.int64]) -> None:
    """Set the next position of each row, [b]."""
    binding.write(names.POSITION, position)


def rewind(binding: Binding, position: NDArray[np.int64], observed: NDArray[np.int64]) -> None:
    """Set the position of each row, [b], and the values that it observes from there on, [b, t]."""
    binding.write(names.OBSERVED, observed)
    binding.write(names.POSITION, position)


def resume(
    binding: Binding, cache: Mapping[str, Array], position: int, past: NDArray[np.float32]
) -> None:
    """Set all rows to a position, with the cache and the log p [b, s] of earlier positions."""
    for name, array in cache.items():
        binding.write(name, array)
    binding.write(names.POSITION, np.full(len(past), position, np.int64))
    log_p = read_log_p(binding)
    log_p[:, : past.shape[1]] = past
    binding.write(names.LOG_P, log_p)


def set_values(binding: Binding, values: NDArray[np.int64]) -> None:
    """Replace the values so far, [b, t], which the next step reads."""
    binding.write(names.VALUES, values)


def result(binding: Binding, start: Start) -> LoopResult:
    """Return what the loop has left so far."""
    log_p = read_log_p(binding)
    log_q = np.where(start.observed >= 0, np.float32(0), log_p)
    return LoopResult(
        read_values(binding), log_p, binding.read(names.LOG_Q) if start.tempered else log_q
    )


def read_top(binding: Binding, k: int, part: Part | None = None) -> Alternatives:
    """Return the k most probable values of some rows and positions, or of all, [b, t, k] each."""
    return Alternatives(*(binding.read(name, part)[..., :k] for name in names.ALTERNATIVES))


def read_values(binding: Binding, part: Part | None = None) -> NDArray[np.int64]:
    """Return observed and drawn values, [b, t], or a part of them."""
    return binding.read(names.VALUES, part)


def read_log_p(binding: Binding) -> NDArray[np.float32]:
    """Return the log-probability of each value under the model, in nats, [b, t]."""
    return binding.read(names.LOG_P)
