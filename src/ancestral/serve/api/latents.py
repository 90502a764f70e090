"""/v1/ancestral/encode, decode, reconstruct and bound: methods of latent variable models."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from ancestral.engine import LatentEngine
from ancestral.serve.api.arrays import Array, Labels, Values, array, check_size, labels_of, rows
from ancestral.serve.api.jobs import Fields, JobBody, Target, Work, fields_of
from ancestral.serve.api.sample import Index, Seed, seed_of
from ancestral.serve.calls import Report
from ancestral.serve.graphs import check_graphs
from ancestral.units import bits_per_dim


class EventsBody(JobBody):
    """Body of /v1/ancestral/encode and of /v1/ancestral/reconstruct."""

    x: Array
    """Events, [n, *event_shape]: levels, or real values in units of levels if p(x | z) is a
    density."""


class EncodeAnswer(BaseModel):
    """Parameters of q(z | x) of each event; only those that the model has."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    codes: Values | None = None
    """Codes, [n, *latent_shape], of a model with codes."""
    mean: Values | None = None
    """Mean of q(z | x), [n, *latent_shape], in units of z."""
    log_scale: Values | None = None
    """Log of the standard deviations of a diagonal q(z | x), [n, *latent_shape]."""
    factor: Values | None = None
    """Lower triangular L of the covariance L L^T of q(z | x), [n, l, l], in units of z."""
    kl: Values | None = None
    """KL(q || p), in nats, [n], if it has a closed form."""


class DecodeBody(JobBody):
    """Body of /v1/ancestral/decode."""

    z: Array
    """Real latents, or codes, [n, *latent_shape]."""


class DecodeAnswer(BaseModel):
    """Parameters and mean of p(x | z) of each latent."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    parameters: Values
    """Parameters of p(x | z), [n, g, p]: p numbers for each of g values or pixels; logits are in
    nats, means and scales in units of levels."""
    x_mean: Values
    """E[x | z], [n, *event_shape], in units of levels."""


class ReconstructAnswer(BaseModel):
    """Means of p(x | z) at the mean of q(z | x) of each event, or at its codes."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    x_mean: Values
    """E[x | z], [n, *event_shape], in units of levels."""


class BoundBody(EventsBody):
    """Body of /v1/ancestral/bound; fields as in `bound` of an engine."""

    k: int = Field(default=64, ge=1, le=2**32 - 1)
    """Number of latents of each event."""
    seed: Seed | None = None
    """Seed, in 0 .. 2^64 - 1. The server draws one if it is null; the answer has it."""
    labels: Labels = None
    """Class of all events, or of each, [n], for a prior over codes with classes; null bounds p(x),
    over all classes."""
    proposal: Literal["posterior", "prior"] = "posterior"
    """Where z is drawn from: "posterior", from q(z | x), or "prior", from p(z)."""
    first_index: Index = 0
    """Sample index of the first event. The noise of event i is that of (seed, first_index + i)."""


class BoundAnswer(BaseModel):
    """Lower bounds on log p(x) of each event, which are not log p(x); fields as in `Bound`."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    elbo: Values
    """Evidence lower bound, the mean of log w over the k latents, in nats, [n]; null is -inf."""
    iwae: Values
    """Importance-weighted bound, the log of the mean of w, in nats, [n]; null is -inf."""
    reconstruction: Values
    """Mean of log p(x | z), in nats, [n]; null is -inf."""
    kl: Values
    """Mean of log q(z | x) - log p(z), in nats, [n]."""
    kl_closed: Values | None
    """KL(q || p) in closed form, in nats, [n]; null if there is none."""
    stderr_elbo: Values
    """Standard error of `elbo`, in nats, [n]; null is infinite, as for k = 1."""
    stderr_iwae: Values
    """Standard error of `iwae`, in nats, [n]."""
    ess: Values
    """Effective sample size of the weights, a number of latents in 0 .. k, [n]."""
    unreliable: Values
    """Whether the weights are too uneven for `stderr_iwae`, [n]."""
    bits_per_dim: Values
    """-iwae / (dims ln 2), in bits/dim, [n]: an upper bound; null is infinite."""
    k: int
    """Number of latents of each event."""
    seed: int
    """Seed of the noise."""
    first_index: int
    """Sample index of the first event."""


def encode(target: Target, body: EventsBody) -> Work:
    """Return the work that encodes events.

    Raises:
        InvalidInput: `x` has a wrong value.
        Refused: there are too many events, or the bundle has no latents.
    """
    engine, x = target.served.latent(), array("x", body.x)
    target.server.check_rows(rows(x), "x")
    check_graphs(engine, "encode")
    return target.in_thread(lambda report: engine.encode(x), rows(x))


def decode(target: Target, body: DecodeBody) -> Work:
    """Return the work that decodes latents.

    Raises:
        InvalidInput: `z` has a wrong value.
        Refused: there are too many latents, or the bundle has none.
    """
    engine, z = target.served.latent(), array("z", body.z)
    target.server.check_rows(rows(z), "z")
    check_size("z", rows(z) * max(engine.decoded_size, engine.data.length))

    def call(report: Report) -> Fields:
        parameters, mean = engine.decode(z)
        return {"parameters": parameters, "x_mean": mean}

    return target.in_thread(call, rows(z))


def reconstruct(target: Target, body: EventsBody) -> Work:
    """Return the work that encodes events and decodes their means.

    Raises:
        InvalidInput: `x` has a wrong value.
        Refused: there are too many events, or the bundle has no latents.
    """
    engine, x = target.served.latent(), array("x", body.x)
    target.server.check_rows(rows(x), "x")
    check_graphs(engine, "encode")
    return target.in_thread(lambda report: {"x_mean": engine.reconstruct(x)}, rows(x))


def bound(target: Target, body: BoundBody) -> Work:
    """Return the work that bounds log p(x) of events.

    Raises:
        InvalidInput: a field has a wrong value.
        Refused: there are too many events, or the bundle has no latents.
    """
    engine, x, labels = target.served.latent(), array("x", body.x), labels_of(body.labels)
    target.server.check_rows(rows(x), "x")
    target.server.check_latents(body.k)
    _check_bound(engine, body.proposal)
    seed = seed_of(body.seed)

    def call(report: Report) -> Fields:
        found = engine.bound(
            x,
            body.k,
            seed,
            labels=labels,
            proposal=body.proposal,
            first_index=body.first_index,
            progress=report,
        )
        return fields_of(found) | {
            "unreliable": found.unreliable,
            "bits_per_dim": bits_per_dim(found.iwae, engine.data.event_shape),
            "seed": seed,
            "first_index": body.first_index,
        }

    return target.in_thread(call, rows(x))


def _check_bound(engine: LatentEngine, proposal: str) -> None:
    """Check that a bundle has the graphs of a bound.

    Raises:
        Refused: it does not have one of them.
    """
    if engine.prior is not None:
        check_graphs(engine, "encode", "log_likelihood")
        check_graphs(engine.prior, "log_prob")
    elif proposal == "prior":
        check_graphs(engine, "prior", "log_likelihood")
    else:
        check_graphs(engine, "encode", "log_weights")
