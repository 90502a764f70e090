"""What a backend answers, compared with the known answers of a bundle; whatever the model."""

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
"""Which of all events are meant, [n]."""


@dataclass(frozen=True, slots=True)
class Draws:
    """Drawn or chosen values, compared with the reference's; the names are those of a report."""

    draws: int = 0
    near_ties: int = 0
    unexplained: int = 0

    @classmethod
    def of(cls, got: Array, expected: Array, margin: Array, limit: float) -> "Draws":
        """Values are near ties where the margin is within a limit."""
        differs = got != expected
        near = differs & (margin <= limit)
        return cls(got.size, int(near.sum()), int((differs & ~near).sum()))

    @classmethod
    def real(cls, got: Array, expected: Array, limit: float) -> "Draws":
        """Real values: none is a near tie, NaN is unexplained."""
        apart = np.abs(difference(got, expected))
        return cls(got.size, 0, int((~(apart <= limit)).sum()))

    def __add__(self, other: "Draws") -> "Draws":
        return Draws(*map(operator.add, astuple(self), astuple(other)))


@dataclass(frozen=True, slots=True)
class Limits:
    """The tolerance of the table at the errors that fp32 itself makes on these answers.

    Attributes:
        nats: of a log-probability of an event.
        kl: of KL(reference || backend) of a next-value distribution, in nats.
        cdf: distance of a uniform to an edge that makes a near tie.
        mean: of E[x | z], in levels.
        drawn: of real values that are drawn, in levels.
        distance: of two codes from what was encoded, that makes a near tie.
        latent: of a latent that is drawn from the prior.
        parameters: of the numbers of p(x | z), relative to the largest.
    """

    nats: float
    kl: float
    cdf: float
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
        """A factor times fp32's own error, plus a floor; KL grows with its square.

        Args:
            entry: of the table.
            answers: of a bundle.
            levels: of the data, where real values are compared.
            sampled: by the errors on the events that the model samples, or on those of noise; by
                the largest of all where None.

        Raises:
            BundleError: an own error is not finite.
        """

        def own(name: str) -> float:
            return entry.factor * own_error(answers, name, sampled)

        worst_nats = max(own("log_prob"), own("log_weight"), own("prior"))
        return cls(
            nats=worst_nats + entry.nats_per_position * answers[X].shape[1],
            kl=entry.factor * own("kl") + entry.kl,
            cdf=own("cdf") + entry.cdf,
            mean=own("mean") + entry.real * levels,
            drawn=own("drawn") + entry.real * levels,
            distance=own("distance"),
            latent=own("z") + entry.real,
            parameters=own("parameters") + entry.real,
        )


def limits(runner: Runner, answers: Mapping[str, Array]) -> tuple[Limits, Limits]:
    """The limits of the events that the model samples, and of those of noise.

    Raises:
        BundleError: an own error is not finite.
    """
    entry = tolerance(runner.backend.name, runner.backend.dtype)
    sampled, noise = (
        Limits.of(entry, answers, runner.data.levels, sampled=part) for part in (True, False)
    )
    return sampled, noise


def own_error(answers: Mapping[str, Array], name: str, sampled: bool | None) -> float:
    """PyTorch fp32's own error in a quantity; 0 of one that the answers lack.

    Args:
        answers: of a bundle.
        name: of the quantity.
        sampled: on the events that the model samples, on those of noise, or on all where None.

    Raises:
        BundleError: it is not finite.
    """
    both = None if sampled is None else answers.get(f"own_{name}_halves")
    # Only some errors of latent variable models are kept for each kind of events.
    error = answers.get(f"own_{name}", 0.0) if both is None else both[0 if sampled else 1]
    if not np.isfinite(error):
        raise no_reference()
    return float(error)


def no_reference() -> BundleError:
    """The error of answers with which nothing can be compared."""
    return BundleError("the known answers hold no sound reference: export the model again")


def halves(answers: Mapping[str, Array]) -> tuple[Events, Events]:
    """Which events the model sampled, and which are noise.

    Raises:
        BundleError: one kind of events is missing.
    """
    sampled = answers["is_sample"].astype(bool)
    if not sampled.any() or sampled.all():
        raise no_reference()
    return sampled, ~sampled


def ran_on(runner: Runner) -> dict[str, Any]:
    """What a report says of the backend."""
    backend = runner.backend
    return {"backend": backend.name, "device": backend.device, "dtype": backend.dtype}


def summary(delta: Floats, events: Events, limit: float) -> dict[str, Any]:
    """What `EventsParity` says of the differences of some events.

    Args:
        delta: of each of these events, in nats, [m, ...].
        events: which of all these are.
        limit: of the largest.
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
    """got - expected in float64, and 0 where both are the same infinity."""
    with np.errstate(invalid="ignore"):
        return np.where(got == expected, 0.0, got.astype(np.float64) - expected)


def worst(*deltas: Floats) -> float:
    """Largest |delta|; NaN is infinite."""
    largest = [float(np.abs(delta).max()) for delta in deltas]
    return max(each if np.isfinite(each) else np.inf for each in largest)
