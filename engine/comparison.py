"""What a backend answers, compared with the known answers of a bundle; whatever the model."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ancestral.engine.runner import Runner
from ancestral.engine.session import Array
from ancestral.errors import BundleError

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
        return Draws(
            self.draws + other.draws,
            self.near_ties + other.near_ties,
            self.unexplained + other.unexplained,
        )


def own_errors(
    answers: Mapping[str, Array], names: Iterable[str], sampled: bool | None
) -> list[float]:
    """PyTorch fp32's own errors, by the names that they have in the answers.

    Args:
        answers: of a bundle.
        names: of errors; one that the answers lack is 0.
        sampled: on the events that the model samples, on those of noise, or on all where None.

    Raises:
        BundleError: an own error is not finite.
    """
    own = []
    for name in names:
        of_kinds = None if sampled is None else answers.get(f"{name}_halves")
        # Older bundles hold only that of all events.
        error = answers.get(name, 0.0) if of_kinds is None else of_kinds[0 if sampled else 1]
        own.append(float(error))
    if not np.isfinite(own).all():
        raise no_reference()
    return own


def no_reference() -> BundleError:
    """The error of answers with which nothing can be compared."""
    return BundleError("the known answers hold no sound reference: export the model again")


def halves(answers: Mapping[str, Array]) -> tuple[Events, Events]:
    """Which events the model sampled, and which are noise.

    Raises:
        BundleError: there are none of a kind.
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
