"""Replay the known answers of a latent variable model on a backend, and measure in nats."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ancestral.engine.session import Array
from ancestral.engine.verify import difference, halves, own_error, summary
from ancestral.errors import BundleError
from ancestral.latent_parity import LatentEventsParity, LatentParityReport
from ancestral.parity import Tolerance, tolerance
from ancestral.units import bits_per_dim

if TYPE_CHECKING:
    from ancestral.engine.latent import LatentEngine

Floats = NDArray[np.float64]
_TERMS = ("log_likelihood", "log_prior", "log_posterior")


@dataclass(frozen=True, slots=True)
class LatentLimits:
    """The tolerance of the table at the errors that fp32 itself makes on these answers.

    Attributes:
        nats: of a log-probability of an event.
        mean: of E[x | z], in levels.
        cdf: distance of a uniform to an edge that makes a near tie.
        drawn: of real values that are drawn, in levels.
        distance: of two codes from what was encoded, that makes a near tie.
        latent: of a latent that is drawn from the prior.
        parameters: of the numbers of p(x | z), relative to the largest.
    """

    nats: float
    mean: float
    cdf: float
    drawn: float
    distance: float
    latent: float
    parameters: float

    @classmethod
    def of(
        cls,
        entry: Tolerance,
        answers: dict[str, Array],
        levels: int,
        *,
        sampled: bool | None = None,
    ) -> "LatentLimits":
        """A factor times fp32's own error, plus a floor.

        Args:
            entry: of the table.
            answers: of a bundle.
            levels: of the data.
            sampled: by the errors on the events that the model draws, or on those of noise; by the
                largest of all where None.

        Raises:
            BundleError: an own error is not finite.
        """
        names = ["own_log_weight", "own_mean", "own_cdf", "own_drawn", "own_distance", "own_prior"]
        names += ["own_z", "own_parameters"]
        own = {name: own_error(answers, name, sampled) for name in names}
        if not np.isfinite(list(own.values())).all():
            raise BundleError("the known answers hold no sound reference: export the model again")
        t = answers["x"].shape[1]
        worst = max(own["own_log_weight"], own["own_prior"])
        return cls(
            nats=entry.factor * worst + entry.nats_per_position * t,
            mean=entry.factor * own["own_mean"] + entry.real * levels,
            cdf=entry.factor * own["own_cdf"] + entry.cdf,
            drawn=entry.factor * own["own_drawn"] + entry.real * levels,
            distance=entry.factor * own["own_distance"],
            latent=entry.factor * own["own_z"] + entry.real,
            parameters=entry.factor * own["own_parameters"] + entry.real,
        )


@dataclass(frozen=True, slots=True)
class _Choices:
    """Drawn values or chosen codes beside the reference's."""

    count: int
    near_ties: int
    unexplained: int

    @classmethod
    def of(cls, got: Array, expected: Array, margin: Array, limit: float) -> "_Choices":
        differs = got != expected
        near = differs & (margin <= limit)
        return cls(got.size, int(near.sum()), int((differs & ~near).sum()))

    @classmethod
    def real(cls, got: Array, expected: Array, limit: float) -> "_Choices":
        """Of real values: none is a near tie, NaN is unexplained."""
        apart = np.abs(difference(got, expected))
        return cls(got.size, 0, int((~(apart <= limit)).sum()))

    def __add__(self, other: "_Choices") -> "_Choices":
        return _Choices(
            self.count + other.count,
            self.near_ties + other.near_ties,
            self.unexplained + other.unexplained,
        )


def verify(engine: "LatentEngine") -> LatentParityReport:
    """Compare log-weights, decoded means and draws with float64 PyTorch, by every graph.

    The events that the model draws and those of noise are held to limits of their own.

    Raises:
        BundleError: the bundle lacks a graph or its answers.
    """
    answers = engine.bundle.known_answers()
    entry = tolerance(engine.backend.name, engine.backend.dtype)
    sampled, noise = halves(answers)
    limits, beyond = (
        LatentLimits.of(entry, answers, engine.data.levels, sampled=part) for part in (True, False)
    )
    terms, codes = _terms(engine, answers)
    draws = _Choices(0, 0, 0)
    if codes is not None:
        for events, limit in ((sampled, limits.distance), (noise, beyond.distance)):
            expected, margin = answers["codes"][events], answers["code_margin"][events]
            draws += _Choices.of(codes[events], expected, margin, limit)
    drawn_terms, drawn = _draws(engine, answers, limits)
    decoded = engine.chunked("decode", z=answers["z"])
    draws += drawn + _parameters(decoded["parameters"], answers, limits)
    mean = difference(decoded["x_mean"], answers["x_mean"])
    return LatentParityReport(
        backend=engine.backend.name,
        device=engine.backend.device,
        dtype=engine.backend.dtype,
        latents=terms[0].shape[1],
        sampled=_half(engine, answers, terms, sampled, limits, drawn_terms),
        noise=_half(engine, answers, terms, noise, beyond),
        max_abs_mean=_worst(mean),
        limit_mean=limits.mean,
        draws=draws.count,
        near_ties=draws.near_ties,
        unexplained=draws.unexplained,
        limit_cdf=limits.cdf,
        prior=None if engine.prior is None else engine.prior.compare(),
    )


def _half(
    engine: "LatentEngine",
    answers: dict[str, Array],
    terms: list[Array],
    events: NDArray[np.bool_],
    limits: LatentLimits,
    drawn: Sequence[Floats] = (),
) -> LatentEventsParity:
    """How far the events of one kind, [n] bool, are from the reference.

    Args:
        engine: over the bundle.
        answers: of the bundle.
        terms: of the log-weights of all events, by the backend.
        events: which are meant.
        limits: of these.
        drawn: differences of what is drawn with them.
    """
    exact = [answers[name].astype(np.float64)[events] for name in _TERMS if name in answers]
    each = [difference(got[events], wanted) for got, wanted in zip(terms, exact, strict=True)]
    log_w = _log_w(exact)
    bound = np.logaddexp.reduce(log_w, axis=1) - np.log(log_w.shape[1])
    return LatentEventsParity(
        **summary(_log_w(each), events, limits.nats),
        own_nats=own_error(answers, "own_log_weight", bool(answers["is_sample"][events].all())),
        bits_per_dim=float(bits_per_dim(bound, engine.data.event_shape).mean()),
        max_abs_term_nats=max(map(_worst, (*each, *drawn))),
    )


def _log_w(terms: list[Floats]) -> Floats:
    """log p(x | z) + log p(z) - log q(z | x); of codes the first alone."""
    return terms[0] if len(terms) == 1 else terms[0] + terms[1] - terms[2]


def _terms(engine: "LatentEngine", answers: dict[str, Array]) -> tuple[list[Array], Array | None]:
    """The terms [n, k] by encoder and log_weights; or log p(x | z) at the reference's codes.

    And the codes that the encoder chooses, where there are codes.
    """
    x = answers["x"]
    encoded = engine.chunked("encode", x=x)
    if engine.latent.posterior == "codes":
        found = engine.chunked("log_likelihood", x=x, z=answers["codes"][:, None])
        return [found["log_likelihood"]], encoded["codes"]
    given = {name: values for name, values in encoded.items() if name != "kl"}
    found = engine.chunked("log_weights", x=x, **given, noise=answers["noise"])
    return [found[name] for name in _TERMS], None


def _parameters(got: Array, answers: dict[str, Array], limits: LatentLimits) -> _Choices:
    """The numbers of p(x | z) that users are given, of a few latents."""
    expected = answers["parameters"]
    largest = max(1.0, float(np.abs(expected).max()))
    return _Choices.real(got[: len(expected)] / largest, expected / largest, limits.parameters)


def _draws(
    engine: "LatentEngine", answers: dict[str, Array], limits: LatentLimits
) -> tuple[list[Floats], _Choices]:
    """Differences of log p of what is drawn, by prior and draw; and the drawn values themselves."""
    differences, latents = [], _Choices(0, 0, 0)
    if "prior_noise" in answers:
        given = {"noise": answers["prior_noise"]}
        if "prior_u" in answers:
            given["u"] = answers["prior_u"]
        one = np.ones(len(answers["prior_noise"]), np.float32)
        found = engine.chunked("prior", **given, temperature=one)
        differences.append(difference(found["log_prior"], answers["log_prior_z"]))
        latents = _Choices.real(found["z"], answers["z"], limits.latent)
    noise = "noise" if engine.latent.continuous else "u"
    drawn = engine.chunked("draw", z=answers["z"], **{noise: answers["draw_noise"]})
    got, expected = drawn["x"], answers["drawn"]
    if engine.latent.continuous:
        choices = _Choices.real(got, expected, limits.drawn)
        log_likelihood = drawn["log_likelihood"]
    else:
        choices = _Choices.of(got, expected, _pixel_margin(engine, answers["margin"]), limits.cdf)
        # Of the reference's own draw: a near tie is another event.
        z = answers["z"][:, None]
        again = engine.chunked("log_likelihood", x=expected, z=z)["log_likelihood"][:, 0]
        same = (got == expected).all(axis=1)
        log_likelihood = np.where(same, drawn["log_likelihood"], again)
    differences.append(difference(log_likelihood, answers["drawn_log_likelihood"]))
    return differences, choices + latents


def _pixel_margin(engine: "LatentEngine", margin: Array) -> Array:
    """The margin of a value or of an earlier channel of its pixel, which it may depend on."""
    shape = engine.data.event_shape
    if len(shape) != 3:
        return margin
    axis = 3 if shape[2] in (1, 3) else 1
    events = margin.reshape(-1, *shape)
    return np.asarray(np.minimum.accumulate(events, axis=axis).reshape(margin.shape))


def _worst(delta: Floats) -> float:
    """Largest |delta|; NaN is infinite."""
    worst = float(np.abs(delta).max())
    return worst if np.isfinite(worst) else float("inf")
