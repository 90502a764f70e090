"""Samples of an autoregressive model, drawn in slots among the requests of other clients."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from starlette.concurrency import run_in_threadpool

from ancestral.engine import AutoregressiveEngine, Delta, Request, Samples, arguments, inputs
from ancestral.sampling import UNFILTERED, Sampling
from ancestral.scalars import whole
from ancestral.serve.graphs import check_sampling
from ancestral.serve.served import Served
from ancestral.serve.server import Server


@dataclass(frozen=True, slots=True, kw_only=True)
class Draw:
    """What to draw; the attributes are the arguments of `Engine.sample`."""

    n: int = 1
    labels: ArrayLike | int | None = None
    seed: int = 0
    first_index: int = 0
    sampling: Sampling = UNFILTERED
    observed: ArrayLike | None = None


@dataclass(frozen=True, slots=True)
class _Checked:
    """The rows of a draw.

    Attributes:
        requests: a request for each row.
        observed: values to keep by positions, [n, t] (perhaps a view of one row), -1 where free.
        label: label of each row, [n]; None without classes.
    """

    requests: Sequence[Request]
    observed: NDArray[np.int64]
    label: NDArray[np.int64] | None


async def draw(server: Server, served: Served, wanted: Draw, scope: str) -> Samples:
    """Return the samples of `Engine.sample`, drawn one request for each row.

    They are equal but at near ties, and the log-probabilities agree within the tolerance of the
    backend. If the task is cancelled, the slots are freed.

    Args:
        server: the server.
        served: the bundle.
        wanted: what to draw.
        scope: scope in which the beginnings of prompts are shared.

    Raises:
        InvalidInput: an argument is not valid for the model.
        Refused: the queue is full, the engine failed, or the bundle has another kind.
    """
    engine = served.autoregressive()
    checked = await run_in_threadpool(_checked, engine, wanted, scope)
    found: list[list[Delta]] = [[] for _ in checked.requests]
    async with server.drawn(served, checked.requests) as rows:
        async for place, delta in rows:
            found[place].append(delta)
    return await run_in_threadpool(_joined, engine, checked, found, wanted.first_index)


def _checked(engine: AutoregressiveEngine, wanted: Draw, scope: str) -> _Checked:
    """Return the rows of a draw, with the checks of `Engine.sample`.

    Raises:
        InvalidInput: an argument is not valid for the model.
        Refused: the bundle does not have the graph that the settings need.
    """
    n, data = whole("n", wanted.n, 1), engine.data
    arguments.noise(wanted.seed, wanted.first_index, n)
    check_sampling(engine, wanted.sampling)
    label = engine.labels(wanted.labels, n)
    observed = inputs.observed(wanted.observed, n, data, engine.first_position)
    # One event for all rows is a view without a stride, and is kept once.
    several = observed.strides[0] > 0 and n > 1
    events = data.in_place(np.array(observed if several else observed[:1]))
    requests = [
        Request(
            observed=None if wanted.observed is None else events[i if several else 0],
            label=None if label is None or label[i] == data.num_classes else int(label[i]),
            seed=wanted.seed,
            index=wanted.first_index + i,
            sampling=wanted.sampling,
            stop=(),
            prefix_scope=scope,
        )
        for i in range(n)
    ]
    return _Checked(requests, observed, label)


def _joined(
    engine: AutoregressiveEngine,
    checked: _Checked,
    found: Sequence[Sequence[Delta]],
    first_index: int,
) -> Samples:
    """Return what the rows drew as samples."""
    n, t = checked.observed.shape
    values = np.array(checked.observed)
    log_p, log_q = np.zeros((n, t), np.float32), np.zeros((n, t), np.float32)
    for i, deltas in enumerate(found):
        prompt = deltas[0].prompt_log_p
        begin = 0 if prompt is None else len(prompt)
        log_p[i, :begin] = 0 if prompt is None else prompt
        for delta in deltas:
            end = begin + len(delta.values)
            values[i, begin:end], log_p[i, begin:end] = delta.values, delta.log_p
            log_q[i, begin:end] = delta.log_q
            begin = end
    return Samples(
        engine.data.in_place(values),
        log_p.sum(axis=1, dtype=np.float64),
        log_q.sum(axis=1, dtype=np.float64),
        checked.label,
        first_index,
    )
