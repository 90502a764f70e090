"""Lower bounds on log p(x) by the graphs of a bundle, from log-weights computed in pieces."""

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
    """Return lower bounds on log p(x) of each event, from k latents of each.

    With log w = log p(x | z) + log p(z) - log q(z | x), the evidence lower bound (ELBO) is the mean
    of log w over the k latents, and the importance-weighted bound (IWAE) the log of the mean of w.

    The noise of event i depends on (seed, first_index + i) and on the proposal. It is independent
    of the noise of `sample`, so a bound on a model's own samples is valid for any two seeds. Memory
    does not grow with k, and the encoder runs once for each event.

    Args:
        runner: the engine.
        x: events of levels, [n, *event_shape] or [n, t]. If p(x | z) is a density, levels are
            dequantised to x + u, u ~ U[0, 1) from the seed, and real values, in units of levels,
            are taken as they are.
        k: number of latents of each event. Codes are not drawn: there k only sets `k` and `ess`.
        seed: integer in 0 .. 2^64 - 1.
        labels: class of all events, or of each, [n], for a prior over codes with classes. None
            bounds p(x), over all classes.
        proposal: "posterior" draws z from q(z | x), "prior" from p(z) (naive Monte Carlo).
        first_index: sample index of the first event.
        progress: called as `progress(done, total)`, in pairs of an event and a latent.

    Returns:
        A `Bound`: `elbo`, `iwae`, `reconstruction`, `kl` and standard errors, in nats, and the
        effective sample size `ess`, [n] each.

    Raises:
        InvalidInput: an argument is invalid, or a term of an event's bound is not finite. The log
            of a probability of 0, -inf, is allowed.
        NotADistribution: a log-probability of the prior over codes is NaN.
        BundleError: the weights have changed since the bundle was opened.

    References:
        Kingma and Welling (2014), Auto-encoding variational Bayes, arXiv:1312.6114, section 2.2.
        Burda, Grosse, Salakhutdinov (2016), Importance weighted autoencoders, arXiv:1509.00519,
        section 3.

    For example:

        b = engine.bound(x, k=1000, seed=0)
        -b.iwae / (engine.data.length * np.log(2))  # upper bounds on bits/dim
        b.unreliable  # events whose weights are too uneven
    """
    k = whole("k", k, 1)
    noise = arguments.noise(seed, first_index, 0)
    events = events_of(runner, x, noise)
    arguments.noise(seed, first_index, len(events))
    proposal = arguments.choice("proposal", proposal, PROPOSALS)
    arguments.callback("progress", progress)
    if runner.prior is not None:
        if proposal == "prior":
            raise InvalidInput("proposal: expected 'posterior' for a model with codes, got 'prior'")
        return _of_codes(runner, runner.prior, events, labels, k)
    if labels is not None:
        raise InvalidInput("labels: the model has no classes; leave labels out")
    naive = proposal == "prior"
    return _of_noise(runner, events, k, noise, naive=naive, progress=progress)


def log_weights(
    runner: LatentRunner, x: ArrayLike, noise: ArrayLike
) -> dict[str, NDArray[np.float32]]:
    """Return log p(x | z), log p(z) and log q(z | x) of the z that the noise draws from q(z | x).

    Args:
        runner: the engine, of a model with real latents.
        x: events, [n, *event_shape] or [n, t]: levels, or real values in units of levels if
            p(x | z) is a density. A level i of a density stands for i + 1/2.
        noise: standard normal numbers, [n, k, *latent_shape].

    Returns:
        A dict of "log_likelihood", "log_prior" and "log_posterior", in nats, [n, k] each, float32.
        log w is the sum of the first two minus the third.

    Raises:
        InvalidInput: an argument is invalid, a term is not finite (-inf is allowed for the log of a
            probability of 0), or the latents are codes.
        BundleError: the weights have changed since the bundle was opened.

    References:
        Burda, Grosse, Salakhutdinov (2016), Importance weighted autoencoders, arXiv:1509.00519,
        section 3.
    """
    if runner.codes:
        raise InvalidInput(
            "log_weights: expected a model with real latents, got one with codes; use `bound`"
        )
    events = events_of(runner, x)
    drawn = inputs.real("noise", noise, (len(events), None, *runner.latent.shape))
    found = _log_weights(runner, events, encode_events(runner, events), drawn)
    check_outputs("noise", "events", found, impossible=_impossible(runner))
    return found


def _impossible(runner: LatentRunner) -> tuple[str, ...]:
    """Return the terms that may be -inf: a probability may be 0, a density only by overflow."""
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
    """Return the bound of each event from k draws of z ~ q(z | x), or of z ~ p(z) if naive."""
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
    """Return the terms [n, k]; for z ~ p(z) the last two are equal, and returned as 0."""
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
    """Return the three terms [n, k] of noise [n, k, *l], in chunks that bound memory."""
    q = {name: values for name, values in encoded.items() if name != "kl"}
    return runner.parallel("log_weights", x=events, **q, noise=noise)


def _of_codes(
    runner: LatentRunner, prior: Runner, events: Array, labels: ArrayLike | int | None, k: int
) -> Bound:
    """Return log p(x | z) + log p(z) at the codes z of the encoder: k draws would be equal."""
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
    """Return log p(z | y), or log p(z) over all classes if there are no labels, in nats, [n]."""
    manifest = prior.bundle.manifest
    if labels is None and manifest.data.num_classes is not None and not manifest.label_optional:
        joint = classify(prior, codes).log_joint
        return np.asarray(np.logaddexp.reduce(joint, axis=1))
    return log_prob(prior, codes, labels)
