"""Complete a partly observed event, by sequential Monte Carlo.

A particle runs the model in its ordering. It draws each unobserved value from p(x_t | x_<t), takes
each observed value as it is, and multiplies its weight by the probability of the observed value. If
the weights have become uneven, particles of low weight are replaced by copies of others before free
values are drawn again. The weighted particles approximate p(free | observed), and the mean weights
estimate p(observed):

    log Z = sum over the resamplings, and the end, of log mean_i w_i

Z is an unbiased estimate of p(observed) for any number of particles, and log Z is on average below
log p(observed). The results are exact only in the limit of many particles. If the observed values
come first in the ordering, all weights are equal, and the results are exact for any number.

References:
    Doucet and Johansen (2011), A tutorial on particle filtering and smoothing: fifteen years later,
    Oxford Handbook of Nonlinear Filtering, sections 3.4 and 3.5.
    Naesseth, Lindsten, Schoen (2019), Elements of sequential Monte Carlo, Foundations and Trends in
    Machine Learning 12(3), arXiv:1903.04797, chapter 2.
    Whiteley, Lee, Heine (2016), On the role of interaction in sequential Monte Carlo algorithms,
    Bernoulli 22(1), arXiv:1309.2918: unbiased also if the weights decide when to resample.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Float64, Int64
from numpy.typing import ArrayLike, NDArray

from ancestral.engine import arguments, budget, draw_checks, inputs, step_loop
from ancestral.engine.arguments import Progress, Tally
from ancestral.engine.draw import Draw
from ancestral.engine.noise import Noise
from ancestral.engine.runner import Runner
from ancestral.engine.sample import draw_batches, join
from ancestral.philox import Stream, uniforms
from ancestral.sampling import UNFILTERED
from ancestral.scalars import whole

UNEVEN = 0.5
"""Particles are resampled if the effective sample size is below this fraction of their number."""

Weights = Float64[np.ndarray, " n"]
Rows = Int64[np.ndarray, " n"]


@dataclass(frozen=True, slots=True)
class Completion:
    """Weighted events that keep the observed values and approximate p(x | observed, y).

    Attributes:
        x: values in levels, [n, *event_shape].
        log_prob: log p(x | y) of each whole event, in nats, [n].
        log_weight: normalised log weights, in nats, [n]. The sum of f(x) exp(log_weight) estimates
            the mean of f given the observed values. All are -inf if the observed values have
            probability 0 for every particle.
        chosen: n indices, each as often as its weight says: x[chosen] are events of equal weight.
        log_prob_observed: estimate of log p(observed | y), in nats; for a model without a start
            symbol, of the other observed values given x_0.
        ess: effective sample size of `log_weight`, 1 .. n (0 if all are -inf): the number of
            independent draws from p(x | observed, y) that would vary as little.
        resampled: number of times that the particles were resampled.
        exact: whether `log_prob_observed` is exact and `x` are independent draws.
    """

    x: NDArray[np.int64]
    log_prob: NDArray[np.float64]
    log_weight: NDArray[np.float64]
    chosen: NDArray[np.int64]
    log_prob_observed: float
    ess: float
    resampled: int
    exact: bool

    def __len__(self) -> int:
        return len(self.x)


def complete(
    runner: Runner,
    observed: ArrayLike,
    particles: int = 64,
    labels: ArrayLike | int | None = None,
    seed: int = 0,
    first_index: int = 0,
    progress: Progress | None = None,
) -> Completion:
    """Complete one event given all of its observed values, also those that come later.

    `sample` conditions a value only on the values before it; this method conditions on every
    observed value. If the observed values come first in the ordering, the completions and
    `log_prob_observed` are exact. Otherwise they come from sequential Monte Carlo at temperature 1,
    which is exact only in the limit of many particles.

    Particle i draws with the uniforms of sample index first_index + i, also after it has copied
    another particle. A resampling uses the uniform of (seed, first_index) at the next position. If
    the observed values come first, the uniforms are those of `sample`: completing the beginning of
    a sample with its own seed and index gives that sample again. Otherwise they come from a
    separate stream, so that a completion shares no noise with a sample of the same seed.

    Args:
        runner: the engine.
        observed: values of one event, [*event_shape] or [t]; -1 marks a value to draw.
        particles: number of completions; all are in memory at a time.
        labels: class of the event; required if the model has only p(x | y).
        seed: integer in 0 .. 2^64 - 1.
        first_index: sample index of the first particle.
        progress: called as `progress(done, total)`, in positions of all particles.

    Returns:
        A `Completion`: events, [particles, *event_shape], their log-probabilities and normalised
        log weights, in nats, [particles], and log p(observed), in nats.

    Raises:
        InvalidInput: an argument is invalid.
        NotADistribution: a log-probability is NaN.
        BundleError: the weights have changed since the bundle was opened, or a drawn value is not
            a level.

    References:
        Doucet and Johansen (2011), A tutorial on particle filtering and smoothing, sections 3.4
        and 3.5.
        Naesseth, Lindsten, Schoen (2019), Elements of sequential Monte Carlo, arXiv:1903.04797,
        chapter 2.

    For example:

        observed = x[0].copy()
        observed[:, 4:] = -1  # the right half is free
        found = engine.complete(observed, particles=256, labels=3)
        found.x[found.chosen]  # 256 completions of equal weight
        np.exp(found.log_weight) @ found.x.reshape(256, -1)  # the mean event, [t]
    """
    n = whole("particles", particles, 1)
    budget.check_size("particles", n, budget.bytes_of_row(runner.session("step").signature))
    label, noise = runner.labels(labels, 1), arguments.noise(seed, first_index, n)
    arguments.callback("progress", progress)
    event = inputs.observed(observed, 1, runner.data, runner.first_position)
    draw = Draw(
        np.repeat(event, n, axis=0),
        None if label is None else np.repeat(label, n),
        noise,
        UNFILTERED,
    )
    given = event[0] >= 0
    if given[: int(given.sum())].all():
        return _exact(runner, draw, progress)
    return _filtered(runner, draw, Tally(progress, n * (event.size - runner.first_position)))


def effective_sample_size(log_weight: Weights) -> float:
    """Return (sum w)^2 / sum w^2 of log weights in nats, normalised or not; 0 if all are -inf.

    >>> effective_sample_size(np.log([0.5, 0.5, 1e-300]))
    2.0
    """
    total = np.logaddexp.reduce(log_weight)
    if total == -math.inf:
        return 0.0
    # For even weights, rounding may give more than the number of particles.
    size = np.exp(2 * total - np.logaddexp.reduce(2 * log_weight))
    return float(min(size, len(log_weight)))


def systematic(log_weight: Weights, u: float) -> Rows:
    """Resample n rows systematically, by one uniform: return the row that each one copies, [n].

    A row is copied n times its normalised weight, rounded up or down. Copy i is of the first row at
    which the cumulative weight reaches (i + u) / n. A row of weight 0 is never copied.

    >>> systematic(np.log([0.5, 0.25, 0.25, 1e-300]), 0.5)
    array([0, 0, 1, 2])

    Args:
        log_weight: log weights in nats, [n], normalised or not, not all -inf.
        u: uniform in (0, 1).

    References:
        Douc, Cappe, Moulines (2005), Comparison of resampling schemes for particle filtering,
        arXiv:cs/0507025, section 2.4.
    """
    n = len(log_weight)
    cumulative = np.cumsum(np.exp(log_weight - log_weight.max()))
    return np.searchsorted(cumulative / cumulative[-1], (np.arange(n) + u) / n)


def runs(given: Int64[np.ndarray, " t"]) -> Iterator[tuple[int, int]]:
    """Yield the start and the end of each run of observed values.

    >>> list(runs(np.array([3, -1, 0, 1, -1, 2])))
    [(0, 1), (2, 4), (5, 6)]
    """
    edges = np.flatnonzero(np.diff(given >= 0, prepend=False, append=False))
    return ((int(start), int(stop)) for start, stop in edges.reshape(-1, 2))


def _filtered(runner: Runner, draw: Draw, tally: Tally) -> Completion:
    """Weigh at the end of each run of observed values, and resample if free ones follow."""
    (particles, t), noise = draw.observed.shape, draw.noise
    weight = np.zeros(particles)
    past, resampled = 0.0, 0

    def report(steps: int) -> None:
        tally.add(steps * particles)

    with runner.binding("step", particles) as binding:
        start = replace(draw, noise=replace(noise, stream=Stream.PARTICLES)).start(runner)
        done = step_loop.begin(binding, start, report)
        for first, stop in runs(draw.observed[0]):
            step_loop.advance(binding, stop - done, report)
            done = stop
            log_p = step_loop.read_log_p(binding)
            draw_checks.check(log_p[:, :stop], noise.first_index)
            weight += log_p[:, first:stop].sum(axis=1, dtype=np.float64)
            if stop < t and 0 < effective_sample_size(weight) < UNEVEN * particles:
                past += _log_mean(weight)
                binding.gather(systematic(weight, _uniform(noise, stop)))
                weight[:] = 0
                resampled += 1
        step_loop.advance(binding, t - done, report)
        found = step_loop.result(binding, start)
        draw_checks.check(found.log_p, noise.first_index)
        draw_checks.check_values(found.values, runner.data.levels)
    return Completion(
        x=runner.data.in_place(found.values),
        log_prob=found.log_p.sum(axis=1, dtype=np.float64),
        log_prob_observed=past + _log_mean(weight),
        resampled=resampled,
        exact=False,
        **_weighed(weight, _uniform(noise, t)),
    )


def _exact(runner: Runner, draw: Draw, progress: Progress | None) -> Completion:
    """Complete observed values that come first: samples of the usual loop, of equal weight."""
    samples = join(list(draw_batches(runner, draw, None, progress)))
    log_prob_observed = float(samples.log_prob[0] - samples.log_q[0])
    weight = np.full(len(samples), log_prob_observed)
    return Completion(
        x=samples.x,
        log_prob=samples.log_prob,
        log_prob_observed=log_prob_observed,
        resampled=0,
        exact=True,
        **_weighed(weight, _uniform(draw.noise, draw.observed.shape[1])),
    )


def _weighed(log_weight: Weights, u: float) -> dict[str, Any]:
    """Return the fields of a completion for unnormalised log weights; u chooses rows."""
    total = np.logaddexp.reduce(log_weight)
    possible = total > -math.inf
    return {
        "log_weight": log_weight - total if possible else log_weight,
        "chosen": systematic(log_weight, u) if possible else np.arange(len(log_weight)),
        "ess": effective_sample_size(log_weight),
    }


def _log_mean(log_weight: Weights) -> float:
    return float(np.logaddexp.reduce(log_weight)) - math.log(len(log_weight))


def _uniform(noise: Noise, position: int) -> float:
    index, at = np.array([noise.first_index]), np.array([position])
    return float(uniforms(noise.seed, index, at, stream=Stream.RESAMPLING)[0, 0])
