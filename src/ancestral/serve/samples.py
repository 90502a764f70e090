"""Samples of an autoregressive model, drawn in slots among the requests of other clients."""

import secrets
from collections.abc import Callable, Sequence
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

_SEEDS = 2**53
"""Seeds that the server draws are below it: a client that reads numbers as float64 keeps them."""


def new_seed() -> int:
    """Return a seed for a request that has none."""
    return secrets.randbelow(_SEEDS)


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
class Drawn:
    """What was drawn.

    Attributes:
        samples: the samples of `Engine.sample`.
        log_p: log p of each value under the model, by positions, in nats, [n, t].
    """

    samples: Samples
    log_p: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class SlotDraw:
    """The rows of a draw, checked, so that the slots refuse none of them.

    Attributes:
        engine: the engine.
        requests: a request for each row.
        observed: values to keep by positions, [n, t] (perhaps a view of one row), -1 where free.
        label: label of each row, [n]; None without classes.
    """

    engine: AutoregressiveEngine
    requests: Sequence[Request]
    observed: NDArray[np.int64]
    label: NDArray[np.int64] | None

    @classmethod
    def checked(cls, engine: AutoregressiveEngine, wanted: Draw, scope: str) -> "SlotDraw":
        """Return the rows of a draw, with the checks of `Engine.sample`.

        Args:
            engine: the engine.
            wanted: what to draw.
            scope: scope in which the beginnings of prompts are shared.

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
        return cls(engine, requests, observed, label)

    async def run(
        self, server: Server, served: Served, report: Callable[[int, int], None] | None = None
    ) -> Drawn:
        """Draw the rows. If the task is cancelled, the slots are freed.

        Values are those of `Engine.sample` but at near ties, and log-probabilities agree within the
        tolerance of the backend.

        Args:
            server: the server.
            served: the bundle.
            report: called as `report(done, total)` with numbers of values.

        Raises:
            Refused: the queue is full, or the engine failed.
        """
        parts: list[list[Delta]] = [[] for _ in self.requests]
        done, total = 0, int(np.logical_or.accumulate(self.observed < 0, axis=1).sum())
        async with server.drawn(served, self.requests) as rows:
            async for place, delta in rows:
                parts[place].append(delta)
                done += len(delta.values)
                if report is not None:
                    report(done, total)
        return await run_in_threadpool(self._joined, parts)

    def _joined(self, parts: Sequence[Sequence[Delta]]) -> Drawn:
        """Put what was drawn of each row together."""
        values = np.array(self.observed)
        log_p, log_q = (np.zeros(values.shape, np.float32) for _ in range(2))
        for row, deltas in enumerate(parts):
            at = 0
            for delta in deltas:
                if delta.prompt_log_p is not None:
                    at = len(delta.prompt_log_p)
                    log_p[row, :at] = delta.prompt_log_p
                new = slice(at, at + len(delta.values))
                values[row, new], log_p[row, new] = delta.values, delta.log_p
                log_q[row, new], at = delta.log_q, new.stop
        samples = Samples(
            self.engine.data.in_place(values),
            log_p.sum(axis=1, dtype=np.float64),
            log_q.sum(axis=1, dtype=np.float64),
            self.label,
            self.requests[0].index,
        )
        return Drawn(samples, log_p)
