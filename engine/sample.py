"""Samples of an autoregressive model, batch by batch."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ancestral.arrays import concatenated
from ancestral.engine import (
    alternatives,
    arguments,
    budget,
    draw_checks,
    inputs,
    step_loop,
)
from ancestral.engine.alternatives import Alternatives
from ancestral.engine.arguments import Progress, Tally
from ancestral.engine.draw import Draw
from ancestral.engine.runner import Runner
from ancestral.engine.session import Binding
from ancestral.engine.speculation import Speculate, Speculated, fixed_point, joined, plan_of
from ancestral.engine.step_loop import LoopResult
from ancestral.errors import InvalidInput
from ancestral.sampling import UNFILTERED, Sampling
from ancestral.scalars import whole


@dataclass(frozen=True, slots=True)
class Samples:
    """Samples and their log-probabilities.

    Attributes:
        x: values in levels, [n, *event_shape].
        log_prob: log p(x | y) of the whole event under the model itself, in nats, [n]. For a model
            without a start symbol, given the first value.
        log_q: log-probability of the drawn values (not of the observed ones) under the distribution
            that they were drawn from, with bias, penalties, temperature and filters, in nats, [n].
        labels: label of each sample, [n]; None for a model without classes.
        first_index: sample index of the first.
        top: the most probable values at each position of the ordering, [n, t, k], if they were
            asked for. A position that has no probability, the first of a model without a start
            symbol, has ids -1 and log-probabilities 0.
        speculated: calls and acceptance, if `speculate` was given.
    """

    x: NDArray[np.int64]
    log_prob: NDArray[np.float64]
    log_q: NDArray[np.float64]
    labels: NDArray[np.int64] | None
    first_index: int
    top: Alternatives | None = None
    speculated: Speculated | None = None

    def __len__(self) -> int:
        return len(self.x)


def sample(  # noqa: PLR0913 - what a user may choose
    runner: Runner,
    n: int,
    labels: ArrayLike | int | None = None,
    seed: int = 0,
    first_index: int = 0,
    sampling: Sampling = UNFILTERED,
    observed: ArrayLike | None = None,
    progress: Progress | None = None,
    logprobs: int = 0,
    speculate: Speculate = None,
) -> Samples:
    """Draw n events from the model.

    Sample i depends on (seed, first_index + i) only: not on the batch, the order, or what else is
    drawn.

    Args:
        runner: the engine.
        n: number of samples.
        labels: class of all samples, or of each, [n]; required if the model has only p(x | y).
        seed: integer in 0 .. 2^64 - 1.
        first_index: sample index of the first sample, so that a later call can draw further ones.
        sampling: temperature, filters, bias and penalties.
        observed: values to keep, of one event, [*event_shape] or [1, *event_shape], or of each,
            [n, *event_shape]; -1 marks a value to draw. A value is drawn given only the values
            before it in the ordering; `complete` conditions on all observed values.
        progress: called as `progress(done, total)`, in positions of all samples.
        logprobs: number of most probable values to return at each position, 0 .. 20.
        speculate: proposer of values (`ancestral.engine.speculation`), with which rows are drawn
            one after another, each in fewer calls; "auto" chooses one where a single row is drawn
            and the model allows it; None draws step by step. It changes no value but at near ties.

    Returns:
        `Samples`: the values, [n, *event_shape], and their log-probabilities, in nats, [n].

    Raises:
        InvalidInput: an argument is invalid.
        NotADistribution: a log-probability is NaN.
        BundleError: the weights have changed since the bundle was opened, or a drawn value is not
            a level.

    For example:

        s = engine.sample(64, labels=3, seed=0)
        s.x, s.log_prob  # levels [64, *event_shape], nats [64]
        engine.sample(64, labels=3, seed=0, first_index=64)  # the next 64
        engine.sample(8, labels=3, sampling=Sampling(temperature=0.8, top_p=0.95))
    """
    k = alternatives.checked(logprobs, runner.data.levels)
    budget.check_size("n", whole("n", n, 1), 8 * runner.data.length * (1 + 3 * k))
    given = labels, seed, first_index, sampling, observed, progress
    return join(list(sample_batches(runner, n, *given, logprobs=k, speculate=speculate)))


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
    logprobs: int = 0,
    speculate: Speculate = None,
) -> Iterator[Samples]:
    """Draw the same samples as `sample`, and return each batch when it is finished.

    Args:
        runner: the engine.
        n: number of samples, over all batches.
        labels: as in `sample`.
        seed: as in `sample`.
        first_index: as in `sample`.
        sampling: as in `sample`.
        observed: as in `sample`.
        progress: as in `sample`.
        batch: rows of a batch; None chooses by memory. It does not change the samples.
        logprobs: as in `sample`.
        speculate: as in `sample`; a batch then has a single row.

    Returns:
        An iterator of `Samples`, whose rows are consecutive: values, [batch, *event_shape], and
        log-probabilities, in nats, [batch]. The last batch may be smaller.

    Raises:
        InvalidInput: an argument is invalid. Raised by this call, not by the first batch.
        NotADistribution: a log-probability is NaN. Raised by the iterator.
        BundleError: as in `sample`. Raised by the iterator.

    For example:

        for part in engine.sample_batches(10_000, labels=3, batch=256):
            print(part.first_index, part.log_prob.mean())
    """
    n = whole("n", n, 1)
    draw = Draw(
        inputs.observed(observed, n, runner.data, runner.first_position),
        runner.labels(labels, n),
        arguments.noise(seed, first_index, n),
        arguments.sampling(sampling, runner.data.levels),
        alternatives.checked(logprobs, runner.data.levels),
    )
    plan = plan_of(runner, speculate, draw.sampling, draw.graph(runner), n, whole_events=True)
    return draw_batches(runner, replace(draw, plan=plan), batch, progress)


def draw_batches(
    runner: Runner, draw: Draw, batch: object = None, progress: Progress | None = None
) -> Iterator[Samples]:
    """Draw events, and return each batch when it is finished.

    Args:
        runner: the engine.
        draw: the events to draw.
        batch: rows of a batch; None chooses by memory.
        progress: called with the number of positions that are done, and the total.

    Raises:
        InvalidInput: an argument is invalid. Raised by this call, not by the first batch.
    """
    arguments.callback("progress", progress)
    n, t = draw.observed.shape
    signature = runner.session(draw.graph(runner)).signature
    rows = budget.rows_of_batch(signature, runner.backend.room, batch, n)
    if draw.plan is not None and draw.plan.proposer is not None:
        rows = 1
    tally = Tally(progress, n * (t - runner.first_position))
    return (_batch(runner, draw.part(start, rows), tally) for start in range(0, n, rows))


def _batch(runner: Runner, draw: Draw, tally: Tally) -> Samples:
    size, data, top = len(draw.observed), runner.data, None
    speculated: Speculated | None
    if draw.plan is not None and draw.plan.whole:
        drawn, speculated = fixed_point(runner, draw.observed, draw.label, draw.noise)
        draw_checks.check(drawn.log_p, draw.noise.first_index)
        tally.add(size * (data.length - runner.first_position))
    else:
        with runner.binding(draw.graph(runner), size) as binding:
            drawn, speculated = _drawn(runner, binding, draw, draw.start(runner), tally)
            draw_checks.check(drawn.log_p, draw.noise.first_index, drawn.log_q)
            if draw.logprobs:
                top = step_loop.read_top(binding, draw.logprobs).without(runner.first_position)
    draw_checks.check_values(drawn.values, data.levels)
    return Samples(
        data.in_place(drawn.values),
        drawn.log_p.sum(axis=1, dtype=np.float64),
        drawn.log_q.sum(axis=1, dtype=np.float64),
        draw.label,
        draw.noise.first_index,
        top,
        speculated,
    )


def _drawn(
    runner: Runner, binding: Binding, draw: Draw, start: step_loop.Start, tally: Tally
) -> tuple[LoopResult, Speculated | None]:
    """Draw a batch, step by step or in blocks of proposals."""
    size, t = draw.observed.shape
    plan = draw.plan

    def on_steps(steps: int) -> None:
        tally.add(steps * size)

    with draw.speculated(runner) as loop:
        position = step_loop.begin(binding, start, on_steps)
        if loop is None:
            steps = t - position
            step_loop.advance(binding, steps, on_steps)
            report = None if plan is None else Speculated(None, plan.remark, steps * size, steps)
            return step_loop.result(binding, start), report
        while position < t:
            before, position = position, loop.advance(binding, position, t)
            on_steps(position - before)
    return step_loop.result(binding, start), loop.report


def join(parts: list[Samples]) -> Samples:
    """Join batches of samples.

    Raises:
        InvalidInput: `parts` is empty.
    """
    if not parts:
        raise InvalidInput("samples: at least one batch is required")
    speculated = [part.speculated for part in parts if part.speculated is not None]
    whole = concatenated(parts)
    return replace(whole, speculated=joined(speculated)) if speculated else whole
