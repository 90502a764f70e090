"""/v1/ancestral/sample: events of a model. Those of autoregressive models are drawn in slots."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from ancestral.engine import LatentEngine, Sampling
from ancestral.errors import InvalidInput
from ancestral.sampling import HOTTEST, MOST_PENALTY, MOST_REPETITION
from ancestral.serve.api.arrays import (
    Array,
    Labels,
    Values,
    array,
    by_sites,
    check_size,
    labels_of,
)
from ancestral.serve.api.jobs import Fields, JobBody, Target, Work, fields_of
from ancestral.serve.bias import Bias
from ancestral.serve.calls import Report
from ancestral.serve.graphs import check_graphs, check_sampling
from ancestral.serve.samples import Draw, SlotDraw, new_seed
from ancestral.serve.server import scope_of
from ancestral.units import bits_per_dim

Seed = Annotated[int, Field(ge=0, le=2**64 - 1)]
Index = Annotated[int, Field(ge=0, le=2**32 - 1)]
_Penalty = Annotated[float, Field(ge=-MOST_PENALTY, le=MOST_PENALTY)]


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
    logit_bias: Bias = None
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
        return Sampling(
            temperature=self.temperature,
            top_k=self.top_k,
            top_p=self.top_p,
            min_p=self.min_p,
            logit_bias=self.logit_bias,
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
    return new_seed() if body_seed is None else body_seed


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
    wanted = Draw(
        n=body.n,
        labels=labels_of(body.labels),
        seed=seed_of(body.seed),
        first_index=body.first_index,
        sampling=body.sampling,
        observed=None if body.observed is None else array("observed", body.observed),
    )
    rows = SlotDraw.checked(engine, wanted, scope_of(target.request))

    async def run(report: Report | None) -> Fields:
        drawn = await rows.run(target.server, target.served, report)
        found = fields_of(drawn.samples) | {
            "seed": wanted.seed,
            "bits_per_dim": bits_per_dim(drawn.samples.log_prob, engine.data.event_shape),
        }
        # Nothing asks the slots for it.
        del found["top"]
        if body.positions:
            found["position_log_prob"] = by_sites(drawn.log_p, engine.data)
        return found

    return Work(run, body.n)


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
