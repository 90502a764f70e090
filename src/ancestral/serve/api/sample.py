"""/v1/ancestral/sample: events of a model. Those of autoregressive models are drawn in slots."""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from starlette.concurrency import run_in_threadpool

from ancestral.dataspec import DataSpec
from ancestral.engine import (
    AutoregressiveEngine,
    Delta,
    LatentEngine,
    Request,
    Sampling,
    arguments,
    inputs,
)
from ancestral.errors import InvalidInput
from ancestral.sampling import HOTTEST, MOST_BIAS, MOST_PENALTY, MOST_REPETITION
from ancestral.serve.api.arrays import (
    Array,
    Labels,
    Values,
    array,
    by_sites,
    check_size,
    each_label,
    labels_of,
)
from ancestral.serve.api.jobs import Fields, JobBody, Target, Work, fields_of
from ancestral.serve.calls import Report
from ancestral.serve.graphs import check_graphs, check_sampling
from ancestral.serve.server import scope_of
from ancestral.units import bits_per_dim

Seed = Annotated[int, Field(ge=0, le=2**64 - 1)]
Index = Annotated[int, Field(ge=0, le=2**32 - 1)]
_Penalty = Annotated[float, Field(ge=-MOST_PENALTY, le=MOST_PENALTY)]
_Bias = Annotated[float, Field(ge=-MOST_BIAS, le=MOST_BIAS)]
_DRAWN = 2**53
"""Seeds that the server draws are below it, so that JavaScript keeps all of their digits."""


class SampleBody(JobBody):
    """Body of /v1/ancestral/sample; fields as in `sample` of an engine."""

    n: int = Field(default=1, ge=1)
    """Number of samples."""
    labels: Labels = None
    """Class of all samples, or of each, [n]; required if the model has only p(x | y)."""
    seed: Seed | None = None
    """Seed, in 0 .. 2^64 - 1. The server draws one if it is null; the answer has it."""
    first_index: Index = 0
    """Sample index of the first sample. Sample i depends on (seed, first_index + i) only."""
    temperature: float = Field(default=1.0, ge=0, le=HOTTEST)
    """Divisor of the logits, without a unit; 0 takes the most probable value. For real latents it
    scales the noise of z."""
    top_k: Annotated[int, Field(ge=1, le=2**63 - 1)] | None = None
    """Keep this number of most probable values; null is off."""
    top_p: float = Field(default=1.0, gt=0, le=1)
    """Keep the most probable values up to this probability; 1 is off."""
    min_p: float = Field(default=0.0, ge=0, le=1)
    """Keep values of at least this part of the largest probability; 0 is off."""
    logit_bias: dict[int, _Bias | None] | None = None
    """Nats to add to the logits of some values, {id: nats}; null as a number bans the value."""
    repetition_penalty: float = Field(default=1.0, ge=1 / MOST_REPETITION, le=MOST_REPETITION)
    """Divisor of the positive logits of values that have occurred, without a unit; 1 is off."""
    presence_penalty: _Penalty = 0.0
    """Nats to subtract from the logits of values that were drawn; 0 is off."""
    frequency_penalty: _Penalty = 0.0
    """Nats to subtract for each time that a value was drawn; 0 is off."""
    observed: Array | None = None
    """Levels to keep, [*event_shape] for all samples or [n, *event_shape]; -1 marks a value to
    draw, given the values before it only (/v1/ancestral/complete conditions on all). Only for
    autoregressive models."""
    positions: bool = False
    """Whether the answer has `position_log_prob`. Only for autoregressive models."""
    mean: bool = False
    """Whether `x` are the means E[x | z] instead of draws. Only for latent variable models."""

    @property
    def sampling(self) -> Sampling:
        """Temperature, filters, bias and penalties."""
        bias = None
        if self.logit_bias is not None:
            bias = {
                value: -np.inf if nats is None else nats for value, nats in self.logit_bias.items()
            }
        return Sampling(
            temperature=self.temperature,
            top_k=self.top_k,
            top_p=self.top_p,
            min_p=self.min_p,
            logit_bias=bias,
            repetition_penalty=self.repetition_penalty,
            presence_penalty=self.presence_penalty,
            frequency_penalty=self.frequency_penalty,
        )


class _Drawn(BaseModel):
    """Fields that the samples of every model have."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    x: Values
    """Levels, [n, *event_shape]; real values in units of levels if p(x | z) is a density, or if
    means were asked for."""
    labels: Values | None
    """Class of each sample, [n]; null without classes."""
    seed: int
    """Seed of the samples."""
    first_index: int
    """Sample index of the first."""


class SampleAnswer(_Drawn):
    """Samples of an autoregressive model; fields as in `Samples`."""

    log_prob: Values
    """log p(x | y) of each event under the model itself, in nats, [n]."""
    log_q: Values
    """Log-probability of the drawn values under the distribution that they were drawn from, with
    bias, penalties, temperature and filters, in nats, [n]."""
    bits_per_dim: Values
    """-log p / (dims ln 2) of each event, in bits/dim, [n]."""
    position_log_prob: Values | None = None
    """log p of each value given those before it, in nats, [n, *event_shape], if asked for."""


class LatentSampleAnswer(_Drawn):
    """Samples of a latent variable model; fields as in `LatentSamples`."""

    z: Values
    """Latents, or codes, [n, *latent_shape]."""
    log_prior: Values
    """log p(z) of each latent, in nats, [n]; not at the temperature."""
    log_likelihood: Values | None
    """log p(x | z) of each event, in nats, [n]; null for means."""


def seed_of(body_seed: int | None) -> int:
    """Return the seed of a request, or a new one if it has none."""
    return secrets.randbelow(_DRAWN) if body_seed is None else body_seed


def _refuse(what: str, **given: object) -> None:
    """Refuse fields that the model of the request does not use.

    Args:
        what: models that use them, for the error.
        given: values by name; None and False are not refused.

    Raises:
        InvalidInput: a field is given.
    """
    for name, value in given.items():
        if value is not None and value is not False:
            raise InvalidInput(f"{name}: only used by {what} models; leave it out")


def sample(target: Target, body: SampleBody) -> Work:
    """Return the work that draws samples.

    Raises:
        InvalidInput: a field has a wrong value.
        Refused: there are too many samples, or the bundle cannot draw with these settings.
    """
    target.server.check_rows(body.n, "n")
    engine = target.served.thread.opened()
    check_size("n", body.n * engine.data.length)
    if isinstance(engine, LatentEngine):
        return _latent(target, body, engine)
    engine = target.served.autoregressive()
    _refuse("latent variable", mean=body.mean)
    events = _events(engine, body, scope_of(target.request))

    async def run(report: Report | None) -> Fields:
        parts: list[list[Delta]] = [[] for _ in events.requests]
        done, total = 0, events.free
        async with target.server.drawn(target.served, events.requests) as rows:
            async for place, delta in rows:
                parts[place].append(delta)
                done += len(delta.values)
                if report is not None:
                    report(done, total)
        return await run_in_threadpool(events.joined, parts, positions=body.positions)

    return Work(run, body.n)


@dataclass(frozen=True, slots=True)
class _Events:
    """Events to draw in slots.

    Attributes:
        data: the space of events.
        observed: values by positions, [n, t], -1 where free.
        labels: labels as the graphs take them, [n]; None without classes.
        requests: a request for each event.
    """

    data: DataSpec
    observed: NDArray[np.int64]
    labels: NDArray[np.int64] | None
    requests: Sequence[Request]

    @property
    def free(self) -> int:
        """Number of values that the slots report: those from the first free one of each event."""
        return int(np.logical_or.accumulate(self.observed < 0, axis=1).sum())

    def joined(self, parts: Sequence[Sequence[Delta]], *, positions: bool) -> Fields:
        """Return the fields of the answer.

        Args:
            parts: what was drawn of each event, in order.
            positions: whether the log-probability of each position is asked for.
        """
        values = self.observed.copy()
        log_p, log_q = (np.zeros(values.shape, np.float32) for _ in range(2))
        for row, deltas in enumerate(parts):
            at = 0
            for delta in deltas:
                if delta.prompt_log_p is not None:
                    at = len(delta.prompt_log_p)
                    log_p[row, :at] = delta.prompt_log_p
                new = slice(at, at + len(delta.values))
                values[row, new], log_p[row, new], log_q[row, new] = (
                    delta.values,
                    delta.log_p,
                    delta.log_q,
                )
                at = new.stop
        log_prob = log_p.sum(axis=1, dtype=np.float64)
        found = {
            "x": self.data.in_place(values),
            "log_prob": log_prob,
            "log_q": log_q.sum(axis=1, dtype=np.float64),
            "labels": self.labels,
            "seed": self.requests[0].seed,
            "first_index": self.requests[0].index,
            "bits_per_dim": bits_per_dim(log_prob, self.data.event_shape),
        }
        return found | ({"position_log_prob": by_sites(log_p, self.data)} if positions else {})


def _events(engine: AutoregressiveEngine, body: SampleBody, scope: str) -> _Events:
    """Return the events of a body, checked, so that the slots refuse none of them.

    Raises:
        InvalidInput: a field has a wrong value.
        Refused: the bundle cannot draw with these settings.
    """
    n, data, sampling = body.n, engine.data, body.sampling
    check_sampling(engine, sampling)
    labels = labels_of(body.labels)
    each = each_label(engine, labels, n)
    noise = arguments.noise(seed_of(body.seed), body.first_index, n)
    values = None if body.observed is None else array("observed", body.observed)
    observed = inputs.observed(values, n, data, engine.first_position)
    requests = [
        Request(
            observed=row,
            label=each[i],
            seed=noise.seed,
            index=noise.first_index + i,
            sampling=sampling,
            stop=(),
            prefix_scope=scope,
        )
        for i, row in enumerate(data.in_place(observed))
    ]
    return _Events(data, observed, engine.labels(labels, n), requests)


def _latent(target: Target, body: SampleBody, engine: LatentEngine) -> Work:
    """Return the work that draws samples of a latent variable model."""
    _refuse("autoregressive", observed=body.observed, positions=body.positions)
    n, labels, seed = body.n, labels_of(body.labels), seed_of(body.seed)
    if engine.prior is not None:
        check_sampling(engine.prior, body.sampling)
    else:
        check_graphs(engine, "prior")
    check_graphs(engine, "decode" if body.mean else "draw")

    def call(report: Report) -> Fields:
        drawn = engine.sample(n, labels, seed, body.first_index, body.sampling, body.mean)
        return fields_of(drawn) | {"seed": seed}

    return target.in_thread(call, n)
