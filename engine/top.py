"""The most probable values at each position of given events, chosen inside the graph.

Only k ids and k log-probabilities of a position leave the graph, never a whole distribution.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32, Int64
from numpy.typing import NDArray

from ancestral.engine import budget
from ancestral.engine.runner import Runner
from ancestral.errors import InvalidInput
from ancestral.scalars import whole
from ancestral.step_tensors import LOG_PROB, TOP, TOP_IDS, TOP_LOG_PROB, X

GRAPH = "top_log_prob"
_BYTES = 12
"""Bytes of an id and its log-probability."""


@dataclass(frozen=True, slots=True)
class Top:
    """The k most probable values at each position, given the values before it.

    A position that has no probability, the first of a model without a start symbol, has ids -1,
    log-probabilities 0, and is not `most_likely`.

    Attributes:
        ids: the values, the most probable first; of equally probable ones the lowest first,
            [..., k].
        log_prob: their log-probabilities under the model, in nats, [..., k].
        most_likely: whether the given value is the most probable one, `ids[..., 0]`, [...].
    """

    ids: Int64[np.ndarray, "*n k"]
    log_prob: Float32[np.ndarray, "*n k"]
    most_likely: Bool[np.ndarray, "*n"]


@dataclass(frozen=True, slots=True)
class EventLikelihood:
    """Log-probabilities of the values of events, and of the most probable values.

    Attributes:
        log_prob: log p(x_t | x_<t, y) of each value, in nats, [n, t], by positions of the ordering.
        top: the k most probable values of each position, [n, t, k].
    """

    log_prob: Float32[np.ndarray, "n t"]
    top: Top


def checked(k: object, levels: int) -> int:
    """Return the number of most probable values.

    Raises:
        InvalidInput: it is not an integer in 1 .. 20, or the model has fewer values.
    """
    count = whole("top", k, 1, TOP)
    if count > levels:
        raise InvalidInput(f"top: expected at most {levels}, the model's values, got {count}")
    return count


def top_of(
    runner: Runner, x: Int64[np.ndarray, "n t"], label: NDArray[np.int64] | None, k: int
) -> EventLikelihood:
    """Return log p of the values, and of the k most probable ones; as the graphs take events.

    Raises:
        InvalidInput: the result would be absurdly large.
    """
    n, t = x.shape
    budget.check_size("x", n, t * k * _BYTES)
    log_prob = np.empty((n, t), np.float32)
    ids, nats = np.empty((n, t, k), np.int64), np.empty((n, t, k), np.float32)
    # The graph returns the largest k; each call is cut before the next.
    rows = runner.rows_of_call(GRAPH, {X: x})
    for at in range(0, n, rows):
        some = slice(at, at + rows)
        found = runner.parallel(GRAPH, None if label is None else label[some], x=x[some])
        log_prob[some] = found[LOG_PROB]
        ids[some], nats[some] = found[TOP_IDS][..., :k], found[TOP_LOG_PROB][..., :k]
    first = runner.first_position
    ids[:, :first], nats[:, :first] = -1, 0
    return EventLikelihood(log_prob, Top(ids, nats, ids[..., 0] == x))
