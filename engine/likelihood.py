"""log p of whole events by the parallel graph."""

import numpy as np
from jaxtyping import Float32, Float64, Int64
from numpy.typing import ArrayLike, NDArray

from ancestral.engine import inputs, step_loop
from ancestral.engine.runner import Runner
from ancestral.step_tensors import LOG_PROB

Labels = ArrayLike | int | None


def log_prob_of(
    runner: Runner, x: Int64[np.ndarray, "n t"], label: NDArray[np.int64] | None
) -> Float32[np.ndarray, "n t"]:
    """log p(x_t | x_<t, y) in nats; events and labels are as the graphs take them."""
    return runner.parallel(LOG_PROB, label, x=x)[LOG_PROB]


def position_log_prob(runner: Runner, x: ArrayLike, labels: Labels) -> NDArray[np.float32]:
    """log p(x_t | x_<t, y) in nats, by positions of the ordering, [n, t]; NaN is refused."""
    events = inputs.events(x, runner.data)
    found = log_prob_of(runner, events, runner.labels(labels, len(events)))
    step_loop.check(found, 0)
    return found


def log_prob(runner: Runner, x: ArrayLike, labels: Labels) -> Float64[np.ndarray, " n"]:
    """log p(x | y) of each event in nats."""
    return np.asarray(position_log_prob(runner, x, labels).sum(axis=1, dtype=np.float64))
