"""/v1/ancestral/complete: events given all of their observed values."""

from typing import Annotated

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from ancestral.engine import Completion, arguments, inputs
from ancestral.serve.api.arrays import (
    Array,
    Labels,
    Values,
    array,
    check_size,
    each_label,
    labels_of,
    rows,
)
from ancestral.serve.api.jobs import Fields, JobBody, Target, Work, fields_of
from ancestral.serve.api.sample import Index, Seed, seed_of
from ancestral.serve.calls import Report
from ancestral.serve.graphs import check_graphs


class CompleteBody(JobBody):
    """Body of /v1/ancestral/complete; fields as in `complete` of an engine."""

    observed: Array
    """Levels of one event, [*event_shape], or of several, [n, *event_shape]; -1 marks a value to
    draw."""
    n: Annotated[int, Field(ge=1)] | None = None
    """Number of events. If it is given, or several events are observed, every field of the answer
    but the seed and the index has a first axis [n]; one observed event is completed n times."""
    particles: int = Field(default=64, ge=1)
    """Number of weighted completions of each event."""
    labels: Labels = None
    """Class of all events, or of each, [n]; required if the model has only p(x | y)."""
    seed: Seed | None = None
    """Seed, in 0 .. 2^64 - 1. The server draws one if it is null; the answer has it."""
    first_index: Index = 0
    """Sample index of the first particle of the first event. Those of event i begin at
    first_index + i * particles."""


class CompleteAnswer(BaseModel):
    """Completions of an event; fields as in `Completion`."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    x: Values
    """Levels, [particles, *event_shape]."""
    log_prob: Values
    """log p(x | y) of each whole event, in nats, [particles]."""
    log_weight: Values
    """Normalised log weights, in nats, [particles]; null is -inf, a weight of 0."""
    chosen: Values
    """Indices, each as often as its weight says: x[chosen] are events of equal weight."""
    log_prob_observed: float | Values | None
    """Estimate of log p(observed | y), in nats; null is -inf."""
    ess: float | Values
    """Effective sample size of the weights, a number of particles, 1 .. particles."""
    resampled: int | Values
    """Number of times that the particles were resampled."""
    exact: bool | Values
    """Whether log_prob_observed is exact and `x` are independent draws."""
    seed: int
    """Seed of the completions."""
    first_index: int
    """Sample index of the first particle of the first event."""


def complete(target: Target, body: CompleteBody) -> Work:
    """Return the work that completes events.

    Raises:
        InvalidInput: a field has a wrong value.
        Refused: there are too many particles, or the bundle cannot complete.
    """
    engine, particles = target.served.autoregressive(), body.particles
    check_graphs(engine, "step")
    values, data = array("observed", body.observed), engine.data
    one = values.shape in {data.event_shape, (data.length,)}
    n = body.n or (1 if one else max(1, rows(values)))
    target.server.check_rows(n * particles, "particles")
    check_size("particles", n * particles * data.length)
    events = data.in_place(inputs.observed(values, n, data, engine.first_position))
    labels = each_label(engine, labels_of(body.labels), n)
    noise = arguments.noise(seed_of(body.seed), body.first_index, n * particles)

    def call(report: Report) -> Fields:
        parts = []
        for i, event in enumerate(events):
            first = noise.first_index + i * particles

            def within(done: int, total: int, i: int = i) -> None:
                report(i * total + done, n * total)

            parts.append(engine.complete(event, particles, labels[i], noise.seed, first, within))
        found = fields_of(parts[0]) if one and body.n is None else _stacked(parts)
        return found | {"seed": noise.seed, "first_index": noise.first_index}

    return target.in_thread(call, n)


def _stacked(parts: list[Completion]) -> dict[str, object]:
    """Return the fields of several completions, each with a first axis [n]."""
    every = [fields_of(part) for part in parts]
    return {name: np.stack([each[name] for each in every]) for name in every[0]}
