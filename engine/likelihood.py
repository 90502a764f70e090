"""Whole events by the parallel graphs: log p, and the values that uniforms draw.

The likelihood of a sequence that may be longer than the context is that of windows that slide over
it. With T positions of context and a stride S, window k is of the ids x_kS .. x_(kS+T-1). The first
one scores all of its ids, each later one its last S, which the windows before it have not reached:

    i < T:   log p(x_i | x_0 .. x_(i-1))
    i >= T:  log p(x_i | x_kS .. x_(i-1)),   k = ceil((i - T + 1) / S)

so each id is scored once, given at least T - S ids before it, or all there are. A model with a
start symbol has it before the first id of every window, of a later one too, where the text does not
begin: that is what its graph gives. A model without one has no probability for the very first id,
which is not counted.

The conditionals make a distribution over texts, so the sum is a log-probability: of these ids under
the model that forgets what is outside of its window.

References:
    Press, Smith, Lewis (2021), Shortformer: better language modeling using shorter inputs,
    arXiv:2012.15832, section 2.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Int64
from numpy.typing import ArrayLike, NDArray

from ancestral.engine import arguments, budget, inputs, step_loop
from ancestral.engine.arguments import Progress
from ancestral.engine.runner import Runner
from ancestral.errors import InvalidInput
from ancestral.scalars import whole
from ancestral.step_tensors import LOG_PROB, REDRAWN, X


def log_prob_of(
    runner: Runner, x: Int64[np.ndarray, "n t"], label: NDArray[np.int64] | None
) -> Float32[np.ndarray, "n t"]:
    """log p(x_t | x_<t, y) in nats; events and labels are as the graphs take them."""
    return runner.parallel(LOG_PROB, label, x=x)[LOG_PROB]


def position_log_prob(
    runner: Runner, x: ArrayLike, labels: ArrayLike | int | None = None
) -> NDArray[np.float32]:
    """log p(x_t | x_<t, y) in nats, by positions of the ordering, [n, t]; as `log_prob`."""
    events = inputs.events(x, runner.data)
    found = log_prob_of(runner, events, runner.labels(labels, len(events)))
    step_loop.check(found, 0)
    return found


def log_prob(
    runner: Runner, x: ArrayLike, labels: ArrayLike | int | None = None
) -> NDArray[np.float64]:
    """log p(x | y) of each event in nats, [n].

    Args:
        runner: a bundle on a backend.
        x: integers in 0 .. levels - 1, [n, *event_shape] or [n, t].
        labels: one for all, or [n]; needed where the model has classes and no p(x) of its own.

    Raises:
        InvalidInput: an argument is wrong.
    """
    return np.asarray(position_log_prob(runner, x, labels).sum(axis=1, dtype=np.float64))


def redraw(
    runner: Runner, x: ArrayLike, u: ArrayLike, labels: ArrayLike | int | None = None
) -> NDArray[np.int64]:
    """The value that u [n, t] draws at each position, given x before it: [n, *event_shape].

    Where the model gives NaN, the values mean nothing: `log_prob` refuses such a model.

    Raises:
        InvalidInput: an argument is wrong.
    """
    events = inputs.events(x, runner.data)
    drawn = inputs.uniforms("u", u, events.shape)
    label = runner.labels(labels, len(events))
    return runner.data.in_place(runner.parallel("redraw", label, x=events, u=drawn)[REDRAWN])


@dataclass(frozen=True, slots=True)
class TextLikelihood:
    """Log-probabilities of the ids of a text.

    Attributes:
        log_prob: of each id, in nats, [n]; of the very first 0 where it is given.
        seen: ids that each was conditioned on, the last so many before it, [n].
        context: positions of a window.
        stride: by which windows slide.
        first_given: whether the very first id has no probability: log p(x_2 .. x_n | x_1).
    """

    log_prob: Float32[np.ndarray, " n"]
    seen: Int64[np.ndarray, " n"]
    context: int
    stride: int
    first_given: bool

    @property
    def scored(self) -> int:
        """Number of ids that have a probability."""
        return len(self.log_prob) - self.first_given

    @property
    def total(self) -> float:
        """log p of all of them, in nats."""
        return float(self.log_prob.sum(dtype=np.float64))

    @property
    def perplexity(self) -> float:
        """exp(-log p / number of ids that are scored)."""
        mean = -self.total / self.scored
        return math.exp(mean) if mean < math.log(np.finfo(np.float64).max) else math.inf

    def bits_per_byte(self, count: int) -> float:
        """Of a text of so many bytes: -log2 p of these ids over the bytes.

        An upper bound on the bits of the text itself, to which its other tokenisations add
        probability; without those of the first id, where that is given.

        Raises:
            InvalidInput: no byte.
        """
        return -self.total / (math.log(2) * whole("bytes", count, 1, 2**63 - 1))


def text_likelihood(
    runner: Runner,
    ids: ArrayLike,
    stride: int | None = None,
    labels: int | None = None,
    progress: Progress | None = None,
) -> TextLikelihood:
    """log p of each id of a sequence of any length, by windows that slide over it.

    Args:
        runner: a bundle of sequences on a backend.
        ids: [n].
        stride: by which windows slide; an id is given at least length - stride ids before it, or
            all there are. Half the length where None.
        labels: of the whole sequence, where the model has classes.
        progress: called with how many ids of how many are done.

    Raises:
        InvalidInput: no ids, ids that are no values of the model, a stride that is out of range, or
            a model of events that are no sequences.
        NotADistribution: a log-probability is NaN.
    """
    t, first = runner.data.length, runner.first_position
    if len(runner.data.event_shape) != 1 or runner.data.ordering != "raster":
        raise InvalidInput(
            f"the model's events are {runner.data.event_shape}: expected one of sequences; "
            f"`log_prob` takes whole events"
        )
    arguments.callback("progress", progress)
    x = inputs.ids("ids", ids, runner.data.levels)
    if len(x) <= first:
        why = ": the model gives the first one no probability" if first else ""
        raise InvalidInput(f"ids: expected {first + 1} or more, [n], got {len(x)}{why}")
    stride = max(t // 2, 1) if stride is None else whole("stride", stride, 1, t - first)
    label = runner.labels(labels, 1)
    log_prob = np.zeros(len(x), np.float32)
    seen = np.arange(len(x))
    # A graph over sequences of any length needs no padding for a short text.
    fixed = runner.session(LOG_PROB).signature.input(X).axes[1] != "t"
    width = t if fixed else min(t, len(x))
    for starts in _chunks(len(x), t, stride):
        windows = np.zeros((len(starts), width), np.int64)
        for row, start in zip(windows, starts, strict=True):
            row[: len(x) - start] = x[start : start + width]
        given = None if label is None else np.repeat(label, len(starts))
        found = log_prob_of(runner, windows, given)
        for row, start in zip(found, starts, strict=True):
            done, end = start + t - stride if start else 0, min(start + width, len(x))
            log_prob[done:end] = row[done - start : end - start]
            seen[done:end] -= start
        if progress is not None:
            progress(end, len(x))
    step_loop.check(log_prob[None], 0)
    return TextLikelihood(log_prob, seen, t, stride, bool(first))


def _chunks(n: int, t: int, stride: int) -> Iterator[range]:
    """Where the windows begin, some at a time.

    >>> [list(starts) for starts in _chunks(10, 4, 3)]
    [[0, 3, 6]]
    """
    count = 1 + max(0, -(-(n - t) // stride))
    for first in range(0, count, budget.WINDOWS):
        yield range(first * stride, min(first + budget.WINDOWS, count) * stride, stride)
