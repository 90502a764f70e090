"""The summary of bounds: means over events, and the quantity that they bound."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ancestral.bound import LEAST_ESS, Bound
from ancestral.cli.output import place
from ancestral.engine import LatentEngine
from ancestral.units import bits_per_dim, fixed

_MEANS = ("elbo", "iwae", "reconstruction", "kl", "kl_closed")
_OF_EVENTS = ("elbo", "iwae", "reconstruction", "kl", "stderr_elbo", "stderr_iwae", "ess")


@dataclass(frozen=True, slots=True)
class Mean:
    """A mean over events, and its standard error."""

    mean: float
    error: float

    @classmethod
    def of(cls, values: NDArray[np.float64]) -> "Mean":
        """Return the mean of the values; the standard error of a single value is infinite."""
        n = len(values)
        with np.errstate(invalid="ignore"):
            error = float(values.std(ddof=1)) / n**0.5 if n > 1 else float("inf")
        return cls(float(values.mean()), error)

    def __str__(self) -> str:
        error = f" +- {fixed(self.error, 4)}" if np.isfinite(self.error) else ""
        return f"{fixed(self.mean, 4)}{error}"


@dataclass(frozen=True, slots=True)
class BoundSummary:
    """Bounds of events, as `ancestral bound` writes and prints them.

    Attributes:
        found: the bounds.
        engine: the engine that computed them.
        seed: seed of the noise.
        proposal: "posterior" or "prior".
        labelled: whether they are bounds on p(x | y).
        real: whether the events are real values instead of levels.
    """

    found: Bound
    engine: LatentEngine
    seed: int
    proposal: str
    labelled: bool
    real: bool

    @property
    def subject(self) -> str:
        """The quantity that is bounded."""
        if not self.engine.latent.continuous:
            return "log p(x | y)" if self.labelled else "log p(x)"
        return "the log-density of x" if self.real else "the log-density of x + u"

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the arrays of the .npz: values of the events in nats, [n], and k."""
        names = _OF_EVENTS if self.found.kl_closed is None else (*_OF_EVENTS, "kl_closed")
        return {name: np.asarray(getattr(self.found, name)) for name in (*names, "k")}

    def lines(self) -> list[str]:
        """Return lines for people: means +- standard error over events."""
        found = self.found
        seed = f"seed {self.seed}, proposal {self.proposal}"
        how = "all draws equal" if self.engine.codes else seed
        lines = [
            f"{len(found)} events, k = {found.k}, {how}, {place(self.engine)}: lower bounds on "
            f"{self.subject}, mean +- standard error over events"
        ]
        if self.engine.latent.continuous:
            event = "x" if self.real else "x + u, u ~ U[0, 1)"
            lines.append(f"the density is of {event}: do not compare it with exact bits/dim")
        if self.engine.codes:
            return [
                *lines,
                self._bound_line("log p(x | z) + log p(z)", found.elbo),
                f"  reconstruction log p(x | z) {Mean.of(found.reconstruction)} nats",
                f"  prior log p(z) {Mean.of(-found.kl)} nats",
            ]
        lines += [
            self._bound_line("ELBO", found.elbo),
            self._bound_line("IWAE", found.iwae),
            f"  reconstruction E log p(x | z) {Mean.of(found.reconstruction)} nats",
        ]
        if self.proposal == "posterior":
            exact = found.kl_closed
            closed = "" if exact is None else f", in closed form {Mean.of(exact)}"
            lines.append(f"  KL(q(z | x) || p(z)) {Mean.of(found.kl)} nats{closed}")
        bad = int(found.unreliable.sum())
        advice = ": their standard errors are unreliable; increase -k" if bad else ""
        lines.append(
            f"{bad} of {len(found)} events have an effective sample size (ess) below "
            f"{LEAST_ESS:g}{advice}"
        )
        return lines

    def document(self) -> dict[str, Any]:
        """Return the JSON document: means in nats and bits/dim, and the values of each event."""
        arrays = self.arrays()
        terms = [name for name in arrays if name in _MEANS]
        bits = {name: self._bits(arrays[name]) for name in ("elbo", "iwae")}
        return {
            "backend": self.engine.backend.name,
            "device": self.engine.backend.device,
            "events": len(self.found),
            "k": self.found.k,
            "seed": self.seed,
            "proposal": self.proposal,
            "lower_bound_on": self.subject,
            "nats": {name: asdict(Mean.of(arrays[name])) for name in terms},
            "bits_per_dim_upper_bound": {name: asdict(mean) for name, mean in bits.items()},
            "unreliable": 0 if self.engine.codes else int(self.found.unreliable.sum()),
            **{name: arrays[name].tolist() for name in ("elbo", "iwae", "stderr_iwae", "ess")},
        }

    def _bound_line(self, name: str, nats: NDArray[np.float64]) -> str:
        return f"{name} {Mean.of(nats)} nats; at most {self._bits(nats)} bits/dim (an upper bound)"

    def _bits(self, nats: NDArray[np.float64]) -> Mean:
        return Mean.of(bits_per_dim(nats, self.engine.data.event_shape))
