"""Tokens and their log-probabilities: those that were drawn, and those of prompts."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ancestral.engine import AutoregressiveEngine, Delta
from ancestral.serve.calls import Report
from ancestral.serve.completions.plan import Plan

_ROWS = 16
"""Prompts of a call, after which it sees whether the client has gone."""


@dataclass(frozen=True, slots=True)
class Scores:
    """Log-probabilities of consecutive tokens, in nats.

    Attributes:
        ids: the tokens, [m].
        log_p: log p(x_t | x_<t) of each under the model, [m].
        top_ids: the most probable tokens at these positions, [m, k].
        top_log_p: their log-probabilities under the model, [m, k].
        log_q: log-probability of each under the distribution that it was drawn from, [m]; None if
            they were not drawn.
        unscored: number of first tokens that have no probability.
    """

    ids: list[int]
    log_p: NDArray[np.float32]
    top_ids: NDArray[np.int64]
    top_log_p: NDArray[np.float32]
    log_q: NDArray[np.float32] | None = None
    unscored: int = 0


def drawn_scores(delta: Delta) -> Scores:
    """Return the log-probabilities of tokens that were drawn."""
    none = np.zeros((len(delta.values), 0))
    ids, log_p = (none, none) if delta.top is None else (delta.top.ids, delta.top.log_p)
    return Scores(
        delta.values.tolist(),
        delta.log_p,
        ids.astype(np.int64),
        log_p.astype(np.float32),
        delta.log_q,
    )


def prompt_scores(plan: Plan, report: Report) -> list[Scores]:
    """Return the log-probabilities of each prompt, by the parallel graph.

    Args:
        plan: the prompts, and the number of most probable tokens.
        report: called with the number of prompts that are done, and of all.

    Raises:
        NotADistribution: a log-probability is NaN.
        BundleError: the weights have changed since the bundle was opened.
    """
    found: list[Scores] = []
    for at in range(0, len(plan.prompts), _ROWS):
        report(at, len(plan.prompts))
        some = plan.prompts[at : at + _ROWS]
        log_p, ids, nats = _scored(plan.engine, [each.values for each in some], plan.logprobs or 0)
        for i, prompt in enumerate(some):
            size, given = len(prompt.values), int(prompt.started)
            found.append(
                Scores(
                    prompt.ids,
                    _shifted(log_p[i, :size], given),
                    _shifted(ids[i, :size], given),
                    _shifted(nats[i, :size], given),
                    # A model with a start token scores all values after it.
                    unscored=given or plan.engine.first_position,
                )
            )
    return found


def _scored(
    engine: AutoregressiveEngine, prompts: list[list[int]], k: int
) -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.float32]]:
    """Return log p of the values of prompts, [n, t], and the k most probable ones, [n, t, k].

    What follows a prompt is padding: values after a position do not change its probability.
    """
    x = np.zeros((len(prompts), engine.data.length), np.int64)
    for row, values in zip(x, prompts, strict=True):
        row[: len(values)] = values
    if not k:
        none = np.zeros((*x.shape, 0))
        return engine.position_log_prob(x), none.astype(np.int64), none.astype(np.float32)
    found = engine.log_prob(x, top=k)
    return found.log_prob, found.top.ids, found.top.log_prob


def _shifted(values: NDArray[Any], count: int) -> NDArray[Any]:
    """Return a copy of values after `count` zeros."""
    return np.concatenate([np.zeros((count, *values.shape[1:]), values.dtype), values])
