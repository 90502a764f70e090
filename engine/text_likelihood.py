"""Log-probabilities of texts of any length.

A sequence may be longer than the context: its likelihood is computed in windows that slide over it.
With a context of T positions and a stride S, window k holds the ids x_kS .. x_(kS+T-1). The first
window scores all of its ids, each later one its last S, which no earlier window has reached:

    i < T:   log p(x_i | x_0 .. x_(i-1))
    i >= T:  log p(x_i | x_kS .. x_(i-1)),   k = ceil((i - T + 1) / S)

Each id is scored once, given at least T - S ids before it, or all of them if there are fewer. A
model with a start symbol has it before the first id of every window, also of later ones, because
its graph always has it. A model without a start symbol gives the very first id no probability, so
that id is not counted.

The conditionals make a distribution over texts, so their sum is a log-probability: that of the ids
under a model that forgets what is outside its window.

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

from ancestral.engine import arguments, budget, draw_checks, inputs, likelihood, step_likelihood
from ancestral.engine.arguments import Progress
from ancestral.engine.runner import Runner
from ancestral.engine.step_likelihood import PATHS, Path
from ancestral.engine.top import Top, checked, top_of
from ancestral.errors import InvalidInput
from ancestral.scalars import whole
from ancestral.step_tensors import LOG_PROB, X


@dataclass(frozen=True, slots=True)
class TextLikelihood:
    """Log-probabilities of the ids of a text.

    Attributes:
        log_prob: log-probability of each id, in nats, [n]; 0 for the first id if `first_given`.
        seen: number of ids right before each one that it was conditioned on, [n].
        context: number of positions of a window.
        stride: number of ids by which windows slide.
        top: the k most probable ids at each position, [n, k], if they were asked for.
        first_given: whether the first id has no probability, so that the total is
            log p(x_2 .. x_n | x_1).
    """

    log_prob: Float32[np.ndarray, " n"]
    seen: Int64[np.ndarray, " n"]
    context: int
    stride: int
    first_given: bool
    top: Top | None = None

    @property
    def scored(self) -> int:
        """Number of ids that have a probability."""
        return len(self.log_prob) - self.first_given

    @property
    def total(self) -> float:
        """Sum of the log-probabilities, in nats."""
        return float(self.log_prob.sum(dtype=np.float64))

    @property
    def perplexity(self) -> float:
        """exp(-total / scored); infinity if that exceeds float64."""
        mean = -self.total / self.scored
        return math.exp(mean) if mean < math.log(np.finfo(np.float64).max) else math.inf

    def bits_per_byte(self, count: int) -> float:
        """Return the bits per byte of the text: -log2 p of its ids, divided by its bytes.

        An upper bound for the text itself, because its other tokenisations add probability. The
        bits of the first id are not included if it is given.

        Args:
            count: number of bytes of the text, at least 1.

        Raises:
            InvalidInput: `count` is less than 1.
        """
        return -self.total / (math.log(2) * whole("count", count, 1, 2**63 - 1))


def text_likelihood(
    runner: Runner,
    ids: ArrayLike,
    stride: int | None = None,
    labels: int | None = None,
    progress: Progress | None = None,
    *,
    path: Path = "parallel",
    top: int | None = None,
) -> TextLikelihood:
    """Return log p of each id of a sequence of any length, by windows that slide over it.

    Args:
        runner: the engine, of a model of sequences.
        ids: ids of the text, [n].
        stride: number of ids by which windows slide. Each id is conditioned on at least
            length - stride ids before it, or on all of them if there are fewer. None means half
            the length.
        labels: class of the whole sequence; required if the model has only p(x | y).
        progress: called as `progress(done, total)`, in ids.
        path: as in `log_prob`; the steps run each window position by position.
        top: number of most probable ids to return for each position, as in `log_prob`.

    Returns:
        A `TextLikelihood`: log-probabilities in nats, [n], `total` in nats, `perplexity`, and
        `bits_per_byte`.

    Raises:
        InvalidInput: `ids` is empty or has values that the model does not have, `stride` is out of
            range, or the model's events are not sequences.
        NotADistribution: a log-probability is NaN.
        BundleError: the weights have changed since the bundle was opened.

    References:
        Press, Smith, Lewis (2021), Shortformer: better language modeling using shorter inputs,
        arXiv:2012.15832, section 2.

    For example:

        ids = engine.tokenizer().encode(text)
        found = engine.text_likelihood(ids, stride=256)
        found.perplexity, found.bits_per_byte(len(text.encode()))
    """
    t, first = runner.data.length, runner.first_position
    if len(runner.data.event_shape) != 1 or runner.data.ordering != "raster":
        raise InvalidInput(
            f"text_likelihood: expected a model of sequences, got events of shape "
            f"{runner.data.event_shape}; use `log_prob` for whole events"
        )
    arguments.callback("progress", progress)
    k = None if top is None else checked(top, runner.data.levels)
    steps = arguments.choice("path", path, PATHS) == "steps"
    x = inputs.ids("ids", ids, runner.data.levels)
    if len(x) <= first:
        why = ", as the model gives the first one no probability" if first else ""
        raise InvalidInput(f"ids: expected at least {first + 1}{why}, got {len(x)}")
    stride = max(t // 2, 1) if stride is None else whole("stride", stride, 1, t - first)
    label = runner.labels(labels, 1)
    if steps and k is not None:
        raise InvalidInput("top: expected path='parallel', got 'steps'; leave one of them out")
    budget.check_size("ids", len(x), 16 * (k or 1))
    log_prob = np.zeros(len(x), np.float32)
    best = None if k is None else _empty(len(x), k)
    seen = np.arange(len(x))
    # A graph over sequences of any length needs no padding for a short text.
    fixed = steps or runner.session(LOG_PROB).signature.input(X).axes[1] != "t"
    width = t if fixed else min(t, len(x))
    for starts in _chunks(len(x), t, stride):
        # The steps end with the longest row; the parallel graph takes levels only.
        windows = np.full((len(starts), width), -1 if steps else 0)
        for row, start in zip(windows, starts, strict=True):
            row[: len(x) - start] = x[start : start + width]
        given = None if label is None else np.repeat(label, len(starts))
        found, part = _scores(runner, windows, given, steps, k)
        for i, start in enumerate(starts):
            done, end = start + t - stride if start else 0, min(start + width, len(x))
            new = slice(done - start, end - start)
            log_prob[done:end] = found[i, new]
            if best is not None and part is not None:
                best.ids[done:end], best.log_prob[done:end] = (
                    part.ids[i, new],
                    part.log_prob[i, new],
                )
                best.most_likely[done:end] = part.most_likely[i, new]
            seen[done:end] -= start
        if progress is not None:
            progress(end, len(x))
    draw_checks.check(log_prob[None], 0)
    return TextLikelihood(log_prob, seen, t, stride, bool(first), best)


def _empty(n: int, k: int) -> Top:
    """Return the most probable ids of n positions, to be written."""
    return Top(np.empty((n, k), np.int64), np.empty((n, k), np.float32), np.empty(n, np.bool_))


def _scores(
    runner: Runner,
    windows: Int64[np.ndarray, "n t"],
    label: NDArray[np.int64] | None,
    steps: bool,
    k: int | None,
) -> tuple[Float32[np.ndarray, "n t"], Top | None]:
    """Return log p of each id of each window in nats, and the k most probable ids."""
    if k is not None:
        found = top_of(runner, windows, label, k)
        return found.log_prob, found.top
    scored = step_likelihood.log_prob_of if steps else likelihood.log_prob_of
    return scored(runner, windows, label), None


def _chunks(n: int, t: int, stride: int) -> Iterator[range]:
    """Yield the positions where windows begin, `budget.WINDOWS` at a time.

    >>> [list(starts) for starts in _chunks(10, 4, 3)]
    [[0, 3, 6]]
    """
    count = 1 + max(0, -(-(n - t) // stride))
    for first in range(0, count, budget.WINDOWS):
        yield range(first * stride, min(first + budget.WINDOWS, count) * stride, stride)
