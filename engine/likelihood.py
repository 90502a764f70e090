"""Whole events by the parallel graphs: log p, and the values that uniforms draw."""

import numpy as np
from jaxtyping import Float32, Int64
from numpy.typing import ArrayLike, NDArray

from ancestral.engine import inputs, step_loop
from ancestral.engine.runner import Runner
from ancestral.step_tensors import LOG_PROB, REDRAWN


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
