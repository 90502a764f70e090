"""Comparison of what requests drew in a stream with what they drew in batches."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ancestral.engine import AutoregressiveEngine
from ancestral.engine.comparison import Draws, Limits
from ancestral.engine.noise import Noise
from ancestral.engine.request import Request
from ancestral.parity import tolerance
from ancestral.step_tensors import LOGITS, X
from benchmarks.arrivals.runs import Drawn
from benchmarks.parity import Parity


def checked(
    engine: AutoregressiveEngine,
    parity: Parity,
    requests: Sequence[Request],
    drawn: Sequence[Drawn],
    expected: Sequence[Drawn],
) -> Parity:
    """Return a parity to which the comparison of each request with a batch is added.

    Values must be equal up to a first near tie, at which u is within the backend's limit of an edge
    of the cumulative distribution. Log p is compared where the values before are equal.

    Args:
        engine: the engine.
        parity: parity of the bundle.
        requests: the requests.
        drawn: what each one drew in the stream.
        expected: what it drew in a batch.
    """
    draws, worst = Draws(), 0.0
    for request, got, other in zip(requests, drawn, expected, strict=True):
        if len(got.values) != len(other.values):
            draws += Draws(len(got.values), 0, 1)
            continue
        differ = np.flatnonzero(got.values != other.values)
        same = int(differ[0]) if len(differ) else len(got.values)
        log_p = got.log_p[:same].sum(dtype=np.float64) - other.log_p[:same].sum(dtype=np.float64)
        worst = max(worst, abs(float(log_p))) if np.isfinite(log_p) else np.inf
        near = bool(len(differ)) and near_tie(engine, request, got, same)
        draws += Draws(same, int(near), int(bool(len(differ)) and not near))
    return replace(
        parity,
        near_ties=parity.near_ties + draws.near_ties,
        unexplained=parity.unexplained + draws.unexplained,
        sample_nats=max(worst, parity.sample_nats or 0.0),
    )


def near_tie(engine: AutoregressiveEngine, request: Request, drawn: Drawn, at: int) -> bool:
    """Return whether u is within the limit of an edge, for value `at` that a request drew."""
    t = engine.data.length
    prompt = np.asarray(request.prompt, np.int64)
    position = len(prompt) + at
    x = np.zeros((1, t), np.int64)
    x[0, :position] = np.concatenate([prompt, drawn.values[:at]])
    logits = engine.session("logits").run({X: x})[LOGITS][0, position].astype(np.float64)
    p = np.exp(logits - logits.max())
    edges = np.cumsum(p / p.sum())[:-1]
    u = Noise(request.seed, request.index).uniforms(1, t)[0, position]
    entry = tolerance(engine.backend.name, engine.precision)
    limit = Limits.of(entry, engine.bundle.known_answers()).cdf
    return bool(np.abs(edges - u).min() <= limit)
