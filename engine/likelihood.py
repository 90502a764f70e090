"""Log-probabilities of whole events, by the parallel graph or by the steps."""

from typing import overload

import numpy as np
from jaxtyping import Float32, Int64
from numpy.typing import ArrayLike, NDArray

from ancestral.engine import arguments, draw_checks, inputs, step_likelihood
from ancestral.engine.runner import Runner
from ancestral.engine.step_likelihood import PATHS, Path
from ancestral.engine.top import EventLikelihood, checked, top_of
from ancestral.errors import InvalidInput
from ancestral.step_tensors import LOG_PROB, REDRAWN


def log_prob_of(
    runner: Runner, x: Int64[np.ndarray, "n t"], label: NDArray[np.int64] | None
) -> Float32[np.ndarray, "n t"]:
    """Return log p(x_t | x_<t, y), in nats; events and labels are as the graphs take them."""
    return runner.parallel(LOG_PROB, label, x=x)[LOG_PROB]


def position_log_prob(
    runner: Runner,
    x: ArrayLike,
    labels: ArrayLike | int | None = None,
    *,
    path: Path = "parallel",
    batch: int | None = None,
) -> NDArray[np.float32]:
    """Return log p(x_t | x_<t, y) of each value of each event.

    Args:
        runner: the engine.
        x: events of integers in 0 .. levels - 1, [n, *event_shape] or [n, t].
        labels: class of all events, or of each, [n]; required if the model has only p(x | y).
        path: as in `log_prob`.
        batch: as in `log_prob`.

    Returns:
        Log-probabilities in nats, [n, t], by positions of the ordering, float32. For a model
        without a start symbol, position 0 has 0.

    Raises:
        InvalidInput: an argument is invalid.
        NotADistribution: a log-probability is NaN.
        BundleError: the weights have changed since the bundle was opened.
    """
    chosen = arguments.choice("path", path, PATHS)
    events = inputs.events(x, runner.data)
    label = runner.labels(labels, len(events))
    if chosen == "steps":
        found = step_likelihood.log_prob_of(runner, events, label, batch)
    elif batch is not None:
        raise InvalidInput("batch: only used with path='steps'; leave it out")
    else:
        found = log_prob_of(runner, events, label)
    draw_checks.check(found, 0)
    return found


@overload
def log_prob(
    runner: Runner,
    x: ArrayLike,
    labels: ArrayLike | int | None = None,
    *,
    path: Path = "parallel",
    batch: int | None = None,
    top: None = None,
) -> NDArray[np.float64]: ...


@overload
def log_prob(
    runner: Runner,
    x: ArrayLike,
    labels: ArrayLike | int | None = None,
    *,
    path: Path = "parallel",
    batch: int | None = None,
    top: int,
) -> EventLikelihood: ...


def log_prob(
    runner: Runner,
    x: ArrayLike,
    labels: ArrayLike | int | None = None,
    *,
    path: Path = "parallel",
    batch: int | None = None,
    top: int | None = None,
) -> NDArray[np.float64] | EventLikelihood:
    """Return log p(x | y) of each event, or of each value with the most probable values.

    `path="steps"` computes it as `sample` does, position by position. For samples that were drawn
    without observed values and filters, in the same batches, by ONNX Runtime in the same process
    with the same number of threads, the results are the bits of `Samples.log_prob`: the importance
    weight of a sample is exactly 1 under the model that drew it. The parallel pass is much faster
    and agrees within the tolerance of the backend.

    Args:
        runner: the engine.
        x: events of integers in 0 .. levels - 1, [n, *event_shape] or [n, t].
        labels: class of all events, or of each, [n]; required if the model has only p(x | y).
        path: "parallel", one pass over all positions, or "steps", the step graph.
        batch: rows of a batch, only for the steps, as in `sample_batches`; None chooses by memory,
            as `sample` does.
        top: number of most probable values to return for each position, 1 .. 20 and at most the
            number of levels; only for the parallel pass.

    Returns:
        Log-probabilities in nats, [n], float64. For a model without a start symbol they are given
        the first value. With `top`, an `EventLikelihood`: log-probabilities of the values, in nats,
        [n, t], and the most probable values and their log-probabilities, [n, t, top].

    Raises:
        InvalidInput: an argument is invalid.
        NotADistribution: a log-probability is NaN.
        BundleError: the weights have changed since the bundle was opened.

    For example:

        log_p = engine.log_prob(x, labels=3)
        -log_p / (engine.data.length * np.log(2))  # bits/dim
        engine.log_prob(x, labels=3, top=5).top.most_likely.mean()  # best guesses
    """
    if top is not None:
        return _with_top(runner, x, labels, top, path=path, batch=batch)
    return np.asarray(
        position_log_prob(runner, x, labels, path=path, batch=batch).sum(axis=1, dtype=np.float64)
    )


def _with_top(
    runner: Runner,
    x: ArrayLike,
    labels: ArrayLike | int | None,
    k: int,
    *,
    path: Path,
    batch: int | None,
) -> EventLikelihood:
    if arguments.choice("path", path, PATHS) == "steps":
        raise InvalidInput("top: expected path='parallel', got 'steps'; leave one of them out")
    if batch is not None:
        raise InvalidInput("batch: only used with path='steps'; leave it out")
    count = checked(k, runner.data.levels)
    events = inputs.events(x, runner.data)
    found = top_of(runner, events, runner.labels(labels, len(events)), count)
    draw_checks.check(found.log_prob, 0)
    return found


def redraw(
    runner: Runner, x: ArrayLike, u: ArrayLike, labels: ArrayLike | int | None = None
) -> NDArray[np.int64]:
    """Return the value that a uniform draws at each position, given the values of x before it.

    Draws are by inverse CDF, as in `sample`: a sample and its own uniforms give the sample again,
    except at near ties. If the model gives NaN, the values mean nothing; `log_prob` raises then.

    Args:
        runner: the engine.
        x: events of integers in 0 .. levels - 1, [n, *event_shape] or [n, t].
        u: uniforms in (0, 1), [n, t], by positions of the ordering.
        labels: class of all events, or of each, [n]; required if the model has only p(x | y).

    Returns:
        Drawn values in levels, [n, *event_shape].

    Raises:
        InvalidInput: an argument is invalid.
        BundleError: the weights have changed since the bundle was opened.
    """
    events = inputs.events(x, runner.data)
    drawn = inputs.uniforms("u", u, events.shape)
    label = runner.labels(labels, len(events))
    return runner.data.in_place(runner.parallel("redraw", label, x=events, u=drawn)[REDRAWN])
