"""Bounds by the graphs of a bundle: noise in pieces, log-weights reduced as they come."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ancestral.bound import Bound, Reduction, join
from ancestral.engine.finite import check_outputs
from ancestral.engine.latent_noise import latent_noise, prior_noise
from ancestral.engine.session import Array
from ancestral.engine.step_loop import Progress
from ancestral.philox import Stream

if TYPE_CHECKING:
    from ancestral.engine.latent import LatentEngine

PROPOSALS = ("posterior", "prior")
_NUMBERS = 2**20
"""Numbers that a decoder makes at a time: its output stays in a processor's cache."""
_TERMS = ("log_likelihood", "log_prior", "log_posterior")


@dataclass(frozen=True, slots=True)
class Draws:
    """Which latents are drawn: k of each event, of the noise of its sample index."""

    k: int
    seed: int
    first_index: int
    proposal: str


def numbers(engine: "LatentEngine") -> int:
    """How many numbers a decoder makes of one latent."""
    signature = engine.bundle.manifest.graphs["decode"].signature
    return int(np.prod(signature.output("parameters").shape({"b": 1})))


def pairs(engine: "LatentEngine") -> int:
    """How many pairs of an event and a latent go through a decoder at a time."""
    return max(1, _NUMBERS // numbers(engine))


def impossible(engine: "LatentEngine") -> tuple[str, ...]:
    """Terms that may be -inf: a density is never 0 but by overflow, a probability may be."""
    return () if engine.latent.continuous else _TERMS[:1]


def of_noise(
    engine: "LatentEngine", events: Array, draws: Draws, progress: Progress | None = None
) -> Bound:
    """The bound of each event from k draws of its noise."""
    size = pairs(engine)
    rows, step = max(1, size // draws.k), min(draws.k, size)
    parts = []
    for start in range(0, len(events), rows):
        some = events[start : start + rows]
        indices = draws.first_index + start + np.arange(len(some), dtype=np.int64)
        encoded = {} if draws.proposal == "prior" else engine.encode_events(some)
        reduction = Reduction(len(some))
        for first in range(0, draws.k, step):
            particles = np.arange(first, min(first + step, draws.k), dtype=np.int64)
            if draws.proposal == "prior":
                terms = _from_prior(engine, some, draws.seed, indices, particles)
            else:
                noise = latent_noise(
                    engine.latent, draws.seed, indices, particles, Stream.Z_GIVEN_X
                )
                found = log_weights(engine, some, encoded, noise)
                terms = [found[name] for name in _TERMS]
            named = dict(zip(_TERMS, terms, strict=True))
            check_outputs("x", "events", named, impossible=impossible(engine), start=start)
            reduction.add(*terms)
            if progress is not None:
                done = start * draws.k + len(some) * (first + len(particles))
                progress(done, len(events) * draws.k)
        parts.append(reduction.bound(_closed_kl(engine, encoded, len(some), draws.proposal)))
    return join(parts)


def log_weights(
    engine: "LatentEngine", events: Array, encoded: Mapping[str, Array], noise: Array
) -> dict[str, Array]:
    """The three terms [n, k] of noise [n, k, *l], in chunks that bound memory."""
    q = {name: values for name, values in encoded.items() if name != "kl"}
    return engine.chunked("log_weights", x=events, **q, noise=noise)


def of_codes(
    engine: "LatentEngine", events: Array, labels: ArrayLike | int | None, k: int
) -> Bound:
    """log p(x | z) + log p(z) at the codes z that the encoder chooses: k draws would be alike."""
    codes = engine.encode_events(events)["codes"]
    reconstruction = engine.chunked("log_likelihood", x=events, z=codes[:, None])["log_likelihood"]
    log_prior = _log_prior(engine, codes, labels)[:, None]
    terms = {"log_likelihood": reconstruction, "log_prior": log_prior}
    check_outputs("x", "events", terms, impossible=(*impossible(engine), "log_prior"))
    reduction = Reduction(len(events))
    reduction.add(reconstruction, log_prior, np.zeros_like(log_prior))
    single = reduction.bound(kl_closed=-log_prior[:, 0])
    zero = np.zeros(len(events))
    return Bound(
        elbo=single.elbo,
        iwae=single.iwae,
        reconstruction=single.reconstruction,
        kl=single.kl,
        kl_closed=single.kl_closed,
        stderr_elbo=zero,
        stderr_iwae=zero,
        ess=np.full(len(events), float(k)),
        k=k,
    )


def _log_prior(
    engine: "LatentEngine", codes: Array, labels: ArrayLike | int | None
) -> NDArray[np.float64]:
    """log p(z | y), or the log of its sum over the classes where no labels are given, [n]."""
    assert engine.prior is not None
    manifest = engine.prior.bundle.manifest
    if labels is None and manifest.data.num_classes is not None and not manifest.label_optional:
        joint = engine.prior.classify(codes).log_joint
        return np.asarray(np.logaddexp.reduce(joint, axis=1))
    return engine.prior.log_prob(codes, labels)


def _from_prior(
    engine: "LatentEngine",
    events: Array,
    seed: int,
    indices: NDArray[np.int64],
    particles: NDArray[np.int64],
) -> list[Array]:
    """The terms where z is drawn from p(z): the last two are equal, and left out as 0."""
    rows = len(indices) * len(particles)
    given = prior_noise(engine.latent, seed, indices, particles, Stream.NAIVE_Z)
    z = engine.chunked("prior", **given, temperature=np.ones(rows, np.float32))["z"]
    shaped = z.reshape(len(indices), len(particles), *engine.latent.shape)
    found = engine.session("log_likelihood").run({"x": events, "z": shaped})["log_likelihood"]
    engine.check_files()
    return [found, np.zeros_like(found), np.zeros_like(found)]


def _closed_kl(
    engine: "LatentEngine", encoded: Mapping[str, Array], n: int, proposal: str
) -> NDArray[np.float64] | None:
    if proposal == "prior":
        return np.zeros(n)
    return encoded["kl"].astype(np.float64) if "kl" in encoded else None
