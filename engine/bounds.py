"""Bounds by the graphs of a bundle: noise in pieces, log-weights reduced as they come."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ancestral.bound import Bound, Reduction, join
from ancestral.engine import arguments, budget, inputs
from ancestral.engine.arguments import Progress, Tally
from ancestral.engine.classify import classify
from ancestral.engine.encoding import check_outputs, encode_events
from ancestral.engine.encoding import events as events_of
from ancestral.engine.likelihood import log_prob
from ancestral.engine.noise import Noise, latent_noise, prior_noise
from ancestral.engine.runner import LatentRunner, Runner
from ancestral.engine.session import Array
from ancestral.errors import InvalidInput
from ancestral.philox import Stream
from ancestral.scalars import whole
from ancestral.step_tensors import X

PROPOSALS = ("posterior", "prior")
_TERMS = ("log_likelihood", "log_prior", "log_posterior")


def bound(  # noqa: PLR0913 - what a user may choose
    runner: LatentRunner,
    x: ArrayLike,
    k: int = 64,
    seed: int = 0,
    *,
    labels: ArrayLike | int | None = None,
    proposal: str = "posterior",
    first_index: int = 0,
    progress: Progress | None = None,
) -> Bound:
    """Lower bounds on log p(x) of each event in nats, from k latents of each.

    The noise of event i is a function of (seed, first_index + i) and of the proposal. It is not
    the noise that `sample` draws with, so that a bound on a model's own samples is a bound
    whatever the two seeds. Memory does not grow with k; the encoder runs once for each event.

    Args:
        runner: a bundle on a backend.
        x: events [n, *event_shape] or [n, t] of levels. Where p(x | z) is a density, levels are
            taken as x + u, u ~ U[0, 1) of the seed, and real values, as they are.
        k: latents of each event, exactly so many. For codes all are alike.
        seed: 0 .. 2^64 - 1.
        labels: of a prior over codes with classes: one for all, or [n]; without them the bound
            is on p(x), the sum over all classes.
        proposal: "posterior" draws z from q(z | x); "prior" from p(z), naive Monte Carlo.
        first_index: sample index of the first event.
        progress: called with how many pairs of an event and a latent of how many are done.

    Raises:
        InvalidInput: an argument is wrong, or the encoder makes numbers that are not finite.
    """
    k = whole("k", k, 1)
    noise = arguments.noise(seed, first_index, 0)
    events = events_of(runner, x, noise)
    arguments.noise(seed, first_index, len(events))
    proposal = arguments.choice("proposal", proposal, PROPOSALS)
    arguments.callback("progress", progress)
    if runner.prior is not None:
        if proposal == "prior":
            raise InvalidInput("proposal: codes are chosen by the encoder: give none")
        return _of_codes(runner, runner.prior, events, labels, k)
    if labels is not None:
        raise InvalidInput("labels: the model has no classes; give none")
    naive = proposal == "prior"
    return _of_noise(runner, events, k, noise, naive=naive, progress=progress)


def log_weights(
    runner: LatentRunner, x: ArrayLike, noise: ArrayLike
) -> dict[str, NDArray[np.float32]]:
    """log p(x | z), log p(z), log q(z | x) in nats, [n, k] each, of the z that noise draws.

    Args:
        runner: a bundle on a backend.
        x: as in `bound`; levels of a density stand for the middle of their intervals.
        noise: standard normal, [n, k, *latent_shape].

    Raises:
        InvalidInput: an argument is wrong.
    """
    if runner.codes:
        raise InvalidInput("log_weights: codes take no noise: `bound` has both terms")
    events = events_of(runner, x)
    drawn = inputs.real("noise", noise, (len(events), None, *runner.latent.shape))
    found = _log_weights(runner, events, encode_events(runner, events), drawn)
    check_outputs("noise", "events", found, impossible=_impossible(runner))
    return found


def _impossible(runner: LatentRunner) -> tuple[str, ...]:
    """Terms that may be -inf: a density is never 0 but by overflow, a probability may be."""
    return () if runner.latent.continuous else _TERMS[:1]


def _of_noise(
    runner: LatentRunner,
    events: Array,
    k: int,
    noise: Noise,
    *,
    naive: bool = False,
    progress: Progress | None = None,
) -> Bound:
    """The bound of each event from k draws of its noise: z of q(z | x), or of p(z) where naive."""
    size = budget.fitting(budget.CACHED, runner.decoded_size)
    rows, step = budget.fitting(size, k), min(k, size)
    tally = Tally(progress, len(events) * k)
    parts = []
    for start in range(0, len(events), rows):
        some, own = events[start : start + rows], noise.after(start)
        encoded = None if naive else encode_events(runner, some)
        reduction = Reduction(len(some))
        for first in range(0, k, step):
            particles = np.arange(first, min(first + step, k), dtype=np.int64)
            terms = _terms(runner, some, encoded, own, particles)
            check_outputs(X, "events", terms, impossible=_impossible(runner), start=start)
            reduction.add(*(terms[name] for name in _TERMS))
            tally.add(len(some) * len(particles))
        closed = np.zeros(len(some)) if encoded is None else encoded.get("kl")
        parts.append(reduction.bound(None if closed is None else closed.astype(np.float64)))
    return join(parts)


def _terms(
    runner: LatentRunner,
    events: Array,
    encoded: Mapping[str, Array] | None,
    noise: Noise,
    particles: NDArray[np.int64],
) -> dict[str, Array]:
    """The terms [n, k]; where z is drawn from p(z), the last two are equal, and left out as 0."""
    n, k = len(events), len(particles)
    if encoded is not None:
        drawn = latent_noise(runner.latent, noise, n, particles, Stream.Z_GIVEN_X)
        return _log_weights(runner, events, encoded, drawn)
    given = prior_noise(runner.latent, noise, n, particles, Stream.NAIVE_Z)
    z = runner.parallel("prior", **given, temperature=np.ones(n * k, np.float32))["z"]
    shaped = z.reshape(n, k, *runner.latent.shape)
    found = runner.session("log_likelihood").run({X: events, "z": shaped})["log_likelihood"]
    runner.check_files()
    return dict(zip(_TERMS, (found, np.zeros_like(found), np.zeros_like(found)), strict=True))


def _log_weights(
    runner: LatentRunner, events: Array, encoded: Mapping[str, Array], noise: Array
) -> dict[str, Array]:
    """The three terms [n, k] of noise [n, k, *l], in chunks that bound memory."""
    q = {name: values for name, values in encoded.items() if name != "kl"}
    return runner.parallel("log_weights", x=events, **q, noise=noise)


def _of_codes(
    runner: LatentRunner, prior: Runner, events: Array, labels: ArrayLike | int | None, k: int
) -> Bound:
    """log p(x | z) + log p(z) at the codes z that the encoder chooses: k draws would be alike."""
    codes = encode_events(runner, events)["codes"]
    terms = runner.parallel("log_likelihood", x=events, z=codes[:, None])
    log_prior = _log_prior(prior, codes, labels)[:, None]
    terms["log_prior"] = log_prior
    check_outputs(X, "events", terms, impossible=(*_impossible(runner), "log_prior"))
    reduction = Reduction(len(events))
    reduction.add(terms["log_likelihood"], log_prior, np.zeros_like(log_prior))
    zero = np.zeros(len(events))
    return replace(
        reduction.bound(kl_closed=-log_prior[:, 0]),
        stderr_elbo=zero,
        stderr_iwae=zero,
        ess=np.full(len(events), float(k)),
        k=k,
    )


def _log_prior(prior: Runner, codes: Array, labels: ArrayLike | int | None) -> NDArray[np.float64]:
    """log p(z | y), or the log of its sum over the classes where no labels are given, [n]."""
    manifest = prior.bundle.manifest
    if labels is None and manifest.data.num_classes is not None and not manifest.label_optional:
        joint = classify(prior, codes).log_joint
        return np.asarray(np.logaddexp.reduce(joint, axis=1))
    return log_prob(prior, codes, labels)
