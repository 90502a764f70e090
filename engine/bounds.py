"""Bounds by the graphs of a bundle: noise in pieces, log-weights reduced as they come."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ancestral.bound import Bound, Reduction, join
from ancestral.engine import budget
from ancestral.engine.classify import classify
from ancestral.engine.encoding import encode
from ancestral.engine.finite import check_outputs
from ancestral.engine.latent_noise import latent_noise, prior_noise
from ancestral.engine.likelihood import log_prob
from ancestral.engine.noise import Noise
from ancestral.engine.progress import Progress, Tally
from ancestral.engine.runner import Runner
from ancestral.engine.session import Array
from ancestral.philox import Stream
from ancestral.step_tensors import X

PROPOSALS = ("posterior", "prior")
_TERMS = ("log_likelihood", "log_prior", "log_posterior")


def impossible(runner: Runner) -> tuple[str, ...]:
    """Terms that may be -inf: a density is never 0 but by overflow, a probability may be."""
    return () if runner.latent.continuous else _TERMS[:1]


def of_noise(
    runner: Runner,
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
        encoded = None if naive else encode(runner, some)
        reduction = Reduction(len(some))
        for first in range(0, k, step):
            particles = np.arange(first, min(first + step, k), dtype=np.int64)
            terms = _terms(runner, some, encoded, own, particles)
            check_outputs("x", "events", terms, impossible=impossible(runner), start=start)
            reduction.add(*(terms[name] for name in _TERMS))
            tally.add(len(some) * len(particles))
        closed = np.zeros(len(some)) if encoded is None else encoded.get("kl")
        parts.append(reduction.bound(None if closed is None else closed.astype(np.float64)))
    return join(parts)


def _terms(
    runner: Runner,
    events: Array,
    encoded: Mapping[str, Array] | None,
    noise: Noise,
    particles: NDArray[np.int64],
) -> dict[str, Array]:
    """The terms [n, k]; where z is drawn from p(z), the last two are equal, and left out as 0."""
    n, k = len(events), len(particles)
    if encoded is not None:
        drawn = latent_noise(runner.latent, noise, n, particles, Stream.Z_GIVEN_X)
        return log_weights(runner, events, encoded, drawn)
    given = prior_noise(runner.latent, noise, n, particles, Stream.NAIVE_Z)
    z = runner.parallel("prior", **given, temperature=np.ones(n * k, np.float32))["z"]
    shaped = z.reshape(n, k, *runner.latent.shape)
    found = runner.session("log_likelihood").run({X: events, "z": shaped})["log_likelihood"]
    runner.check_files()
    return dict(zip(_TERMS, (found, np.zeros_like(found), np.zeros_like(found)), strict=True))


def log_weights(
    runner: Runner, events: Array, encoded: Mapping[str, Array], noise: Array
) -> dict[str, Array]:
    """The three terms [n, k] of noise [n, k, *l], in chunks that bound memory."""
    q = {name: values for name, values in encoded.items() if name != "kl"}
    return runner.parallel("log_weights", x=events, **q, noise=noise)


def of_codes(
    runner: Runner, prior: Runner, events: Array, labels: ArrayLike | int | None, k: int
) -> Bound:
    """log p(x | z) + log p(z) at the codes z that the encoder chooses: k draws would be alike."""
    codes = encode(runner, events)["codes"]
    terms = runner.parallel("log_likelihood", x=events, z=codes[:, None])
    log_prior = _log_prior(prior, codes, labels)[:, None]
    terms["log_prior"] = log_prior
    check_outputs("x", "events", terms, impossible=(*impossible(runner), "log_prior"))
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
