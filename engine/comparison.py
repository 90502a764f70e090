"""Compare a backend's answers with the known answers of a bundle, for any kind of model."""

import operator
from collections.abc import Mapping
from dataclasses import astuple, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ancestral.engine.runner import Runner
from ancestral.engine.session import Array
from ancestral.errors import BundleError
from ancestral.parity import Tolerance, tolerance
from ancestral.step_tensors import X

Floats = NDArray[np.float64]
Events = NDArray[np.bool_]
"""Mask over all events, [n]."""


@dataclass(frozen=True, slots=True)
class Draws:
    """Counts of drawn or chosen values compared with the reference; named as in a report."""

    draws: int = 0
    near_ties: int = 0
    unexplained: int = 0

    @classmethod
    def of(cls, got: Array, expected: Array, margin: Array, limit: float) -> "Draws":
        """Compare discrete values; a difference is a near tie if its margin is within the limit."""
        return cls.certified(got, expected, margin <= limit)

    @classmethod
    def certified(cls, got: Array, expected: Array, tie: NDArray[np.bool_]) -> "Draws":
        """Compare discrete values; a difference is a near tie where the reference has a tie."""
        differs = got != expected
        return cls(got.size, int((differs & tie).sum()), int((differs & ~tie).sum()))

    @classmethod
    def real(cls, got: Array, expected: Array, limit: float) -> "Draws":
        """Compare real values; a difference above the limit, or NaN, is unexplained."""
        apart = np.abs(difference(got, expected))
        return cls(got.size, 0, int((~(apart <= limit)).sum()))

    def __add__(self, other: "Draws") -> "Draws":
        return Draws(*map(operator.add, astuple(self), astuple(other)))


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of the errors: the tolerance of the table, scaled by fp32's own errors.

    Attributes:
        nats: limit for the log-probability of an event, in nats.
        kl: limit for KL(reference || backend) of a next-value distribution, in nats.
        cdf: distance of a uniform from an edge up to which a difference is a near tie.
        filtered: the same for draws at temperatures and with filters, and distance of a mass from
            top-p's.
        gap: distance of a logit from a filter's threshold up to which a difference is a near tie,
            in nats after the temperature.
        mean: limit for E[x | z], in levels.
        drawn: limit for real values that are drawn, in levels.
        distance: difference of two codes' distances to what was encoded, up to which a difference
            is a near tie.
        latent: limit for a latent that is drawn from the prior.
        parameters: limit for the parameters of p(x | z), relative to the largest.
    """

    nats: float
    kl: float
    cdf: float
    filtered: float
    gap: float
    mean: float
    drawn: float
    distance: float
    latent: float
    parameters: float

    @classmethod
    def of(
        cls,
        entry: Tolerance,
        answers: Mapping[str, Array],
        levels: int = 1,
        *,
        sampled: bool | None = None,
    ) -> "Limits":
        """Compute the limits: a factor times fp32's own error, plus a floor.

        KL grows with the square of an error, so its factor is squared.

        Args:
            entry: tolerance of the backend and type.
            answers: known answers of a bundle.
            levels: number of levels of the data, for real values in levels.
            sampled: True for the limits of events that the model samples, False for events of
                noise; None takes fp32's errors on all events.

        Raises:
            BundleError: one of fp32's own errors is not finite.
        """

        def own(name: str) -> float:
            return entry.factor * own_error(answers, name, sampled)

        worst_nats = max(own("log_prob"), own("log_weight"), own("prior"))
        return cls(
            nats=worst_nats + entry.nats_per_position * answers[X].shape[1],
            kl=entry.factor * own("kl") + entry.kl,
            cdf=own("cdf") + entry.cdf,
            filtered=own("filtered") + entry.cdf,
            gap=own("gap") + entry.nats_per_position,
            mean=own("mean") + entry.real * levels,
            drawn=own("drawn") + entry.real * levels,
            distance=own("distance"),
            latent=own("z") + entry.real,
            parameters=own("parameters") + entry.real,
        )


def limits(runner: Runner, answers: Mapping[str, Array]) -> tuple[Limits, Limits]:
    """Return the limits of events that the model samples, and of events of noise.

    Raises:
        BundleError: one of fp32's own errors is not finite.
    """
    entry = tolerance(runner.backend.name, runner.precision)
    sampled, noise = (
        Limits.of(entry, answers, runner.data.levels, sampled=part) for part in (True, False)
    )
    return sampled, noise


def own_error(answers: Mapping[str, Array], name: str, sampled: bool | None) -> float:
    """Return PyTorch fp32's own error in a quantity; 0 if the answers do not have it.

    Args:
        answers: known answers of a bundle.
        name: name of the quantity.
        sampled: True for the events that the model samples, False for events of noise, None for
            all.

    Raises:
        BundleError: the error is not finite.
    """
    both = None if sampled is None else answers.get(f"own_{name}_halves")
    # For latent variable models, only some errors are stored for each kind of events.
    error = answers.get(f"own_{name}", 0.0) if both is None else both[0 if sampled else 1]
    if not np.isfinite(error):
        raise no_reference()
    return float(error)


def no_reference() -> BundleError:
    """Return the error for answers with which nothing can be compared."""
    return BundleError("known answers: no valid reference; export the model again")


def halves(answers: Mapping[str, Array]) -> tuple[Events, Events]:
    """Return the masks of the events that the model sampled, and of the events of noise.

    Raises:
        BundleError: one kind of events is missing.
    """
    sampled = answers["is_sample"].astype(bool)
    if not sampled.any() or sampled.all():
        raise no_reference()
    return sampled, ~sampled


def ran_on(runner: Runner) -> dict[str, Any]:
    """Return the fields of a report that describe the backend."""
    backend = runner.backend
    return {"backend": backend.name, "device": backend.device, "dtype": runner.precision}


def summary(delta: Floats, events: Events, limit: float) -> dict[str, Any]:
    """Return the fields of `EventsParity` that summarise the differences of some events.

    Args:
        delta: differences of these events, in nats, [m, ...].
        events: mask of these events among all.
        limit: limit of the largest difference, in nats.
    """
    apart = np.abs(delta).reshape(len(delta), -1)
    return {
        "events": len(delta),
        "max_abs_nats": worst(delta),
        "mean_abs_nats": float(apart.mean()),
        "mean_signed_nats": float(delta.mean()),
        "worst_index": int(np.flatnonzero(events)[np.argmax(apart.max(axis=1))]),
        "limit_nats": limit,
    }


def difference(got: Array, expected: Array) -> Floats:
    """Return got - expected in float64, and 0 where both are the same infinity."""
    with np.errstate(invalid="ignore"):
        return np.where(got == expected, 0.0, got.astype(np.float64) - expected)


def worst(*deltas: Floats) -> float:
    """Return the largest |delta|; NaN counts as infinite."""
    largest = [float(np.abs(delta).max()) for delta in deltas]
    return max(each if np.isfinite(each) else np.inf for each in largest)


def follow(got: Array, expected: Array, margin: Array, limit: float) -> Draws:
    """Compare each row up to its first difference; beyond it the pasts are not the same."""
    draws = Draws()
    for row in range(len(got)):
        differs = np.flatnonzero(got[row] != expected[row])
        end = int(differs[0]) + 1 if len(differs) else got.shape[1]
        draws += Draws.of(got[row, :end], expected[row, :end], margin[row, :end], limit)
    return draws
