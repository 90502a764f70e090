"""Samples of an autoregressive model, batch by batch."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ancestral.arrays import concatenated
from ancestral.engine import arguments, budget, inputs, step_loop
from ancestral.engine.arguments import Progress, Tally
from ancestral.engine.noise import Noise
from ancestral.engine.runner import Runner
from ancestral.errors import InvalidInput
from ancestral.sampling import UNFILTERED, Sampling
from ancestral.scalars import whole


@dataclass(frozen=True, slots=True)
class Samples:
    """Samples and their log-probabilities.

    Attributes:
        x: values in levels, [n, *event_shape].
        log_prob: log p(x | y) of the whole event under the model itself, in nats, [n].
        log_q: log-probability of what was drawn (not of what was observed), under the distribution
            that it was drawn from, in nats, [n].
        labels: [n], or None without classes.
        first_index: sample index of the first.
    """

    x: NDArray[np.int64]
    log_prob: NDArray[np.float64]
    log_q: NDArray[np.float64]
    labels: NDArray[np.int64] | None
    first_index: int

    def __len__(self) -> int:
        return len(self.x)


@dataclass(frozen=True, slots=True)
class Draw:
    """What is drawn: n events, with checked arguments.

    Attributes:
        observed: values by positions, [n, t] (perhaps a view of one event), -1 where free.
        label: [n], as the graphs take it; None without classes.
        noise: of the first sample.
        sampling: temperature and filters.
    """

    observed: NDArray[np.int64]
    label: NDArray[np.int64] | None
    noise: Noise
    sampling: Sampling

    def start(self, runner: Runner) -> step_loop.Start:
        """What a loop over all of these rows begins with."""
        given = step_loop.filters(self.sampling, len(self.observed), runner.data.levels)
        given |= step_loop.labelled(self.label)
        signature = runner.session(step_loop.graph_of(self.sampling)).signature
        prefill = step_loop.takes_blocks(signature)
        return step_loop.Start(self.observed, given, runner.first_position, prefill, self.noise)

    def part(self, start: int, rows: int) -> "Draw":
        """Some consecutive events of them."""
        some = slice(start, start + rows)
        label = None if self.label is None else np.array(self.label[some])
        return Draw(np.array(self.observed[some]), label, self.noise.after(start), self.sampling)


def sample(  # noqa: PLR0913 - what a user may choose
    runner: Runner,
    n: int,
    labels: ArrayLike | int | None = None,
    seed: int = 0,
    first_index: int = 0,
    sampling: Sampling = UNFILTERED,
    observed: ArrayLike | None = None,
    progress: Progress | None = None,
) -> Samples:
    """Draw n events; sample i depends on (seed, first_index + i) only.

    Args:
        runner: a bundle on a backend.
        n: number of samples.
        labels: one for all, or [n]; needed where the model has classes and no p(x) of its own.
        seed: 0 .. 2^64 - 1.
        first_index: sample index of the first.
        sampling: temperature and filters.
        observed: values to force, one event, [*event_shape] or [1, *event_shape], or
            [n, *event_shape]; -1 is free. What is drawn is conditioned on what precedes it in
            the ordering; on all of it by `complete`.
        progress: called with how many positions of how many are done.

    Raises:
        InvalidInput: an argument is wrong.
    """
    budget.check_size("n", whole("n", n, 1), 8 * runner.data.length)
    batches = sample_batches(runner, n, labels, seed, first_index, sampling, observed, progress)
    return join(list(batches))


def sample_batches(  # noqa: PLR0913 - the arguments of sample
    runner: Runner,
    n: int,
    labels: ArrayLike | int | None = None,
    seed: int = 0,
    first_index: int = 0,
    sampling: Sampling = UNFILTERED,
    observed: ArrayLike | None = None,
    progress: Progress | None = None,
    batch: int | None = None,
) -> Iterator[Samples]:
    """The same samples as `sample` draws, batch by batch as they finish.

    Arguments as in `sample`; and `batch`, rows a batch, by memory where None.

    Raises:
        InvalidInput: an argument is wrong; at once, not at the first batch.
    """
    n = whole("n", n, 1)
    draw = Draw(
        inputs.observed(observed, n, runner.data, runner.first_position),
        runner.labels(labels, n),
        arguments.noise(seed, first_index, n),
        arguments.sampling(sampling),
    )
    return draw_batches(runner, draw, batch, progress)


def draw_batches(
    runner: Runner, draw: Draw, batch: object = None, progress: Progress | None = None
) -> Iterator[Samples]:
    """Draw events, batch by batch as they finish.

    Args:
        runner: a bundle on a backend.
        draw: what is drawn.
        batch: rows a batch; by memory where None.
        progress: called with how many positions of how many are done.

    Raises:
        InvalidInput: an argument is wrong; at once, not at the first batch.
    """
    arguments.callback("progress", progress)
    n, t = draw.observed.shape
    signature = runner.session(step_loop.graph_of(draw.sampling)).signature
    rows = budget.rows_of_batch(signature, runner.backend.room, batch, n)
    tally = Tally(progress, n * (t - runner.first_position))
    return (_batch(runner, draw.part(start, rows), tally) for start in range(0, n, rows))


def _batch(runner: Runner, draw: Draw, tally: Tally) -> Samples:
    size, data = len(draw.observed), runner.data
    with runner.binding(step_loop.graph_of(draw.sampling), size) as binding:
        start = draw.start(runner)
        drawn = step_loop.draw(binding, start, lambda steps: tally.add(steps * size))
        step_loop.check(drawn.log_p, draw.noise.first_index)
    step_loop.check_values(drawn.values, data.levels)
    return Samples(
        data.in_place(drawn.values),
        drawn.log_p.sum(axis=1, dtype=np.float64),
        drawn.log_q.sum(axis=1, dtype=np.float64),
        draw.label,
        draw.noise.first_index,
    )


def join(parts: list[Samples]) -> Samples:
    """Batches of samples as one.

    Raises:
        InvalidInput: there are no parts.
    """
    if not parts:
        raise InvalidInput("samples: expected at least one batch, got none")
    return concatenated(parts)
