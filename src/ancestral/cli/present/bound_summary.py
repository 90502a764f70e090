"""What is told of bounds: means over events, with what they are bounds on."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ancestral.bound import LEAST_ESS, Bound
from ancestral.units import bits_per_dim, fixed

if TYPE_CHECKING:
    from ancestral.engine import LatentEngine


@dataclass(frozen=True, slots=True)
class Asked:
    """What was asked for.

    Attributes:
        seed: of the noise.
        proposal: posterior or prior.
        labelled: whether of p(x | y).
        real: whether the events are real values, no levels.
    """

    seed: int
    proposal: str
    labelled: bool
    real: bool


@dataclass(frozen=True, slots=True)
class Mean:
    """A mean over events, and its standard error."""

    mean: float
    error: float

    @classmethod
    def of(cls, values: NDArray[np.float64]) -> "Mean":
        """The error of a single event is infinite."""
        n = len(values)
        with np.errstate(invalid="ignore"):
            error = float(values.std(ddof=1)) / n**0.5 if n > 1 else float("inf")
        return cls(float(values.mean()), error)

    def __str__(self) -> str:
        error = f" +- {fixed(self.error, 4)}" if np.isfinite(self.error) else ""
        return f"{fixed(self.mean, 4)}{error}"

    def to_json(self) -> dict[str, float]:
        """Both."""
        return {"mean": self.mean, "error": self.error}


def subject(engine: "LatentEngine", asked: Asked) -> str:
    """What it is that is bounded."""
    if not engine.latent.continuous:
        return "log p(x | y)" if asked.labelled else "log p(x)"
    return "the log-density of x" if asked.real else "the log-density of x + u"


def summary(found: Bound, engine: "LatentEngine", asked: Asked) -> list[str]:
    """Lines for people: means +- standard error over events."""
    codes = engine.latent.posterior == "codes"
    where = f"{engine.backend.name} on {engine.backend.device}"
    how = "all draws alike" if codes else f"seed {asked.seed}, proposal {asked.proposal}"
    lines = [
        f"{len(found)} events, k = {found.k}, {how}, {where}: lower bounds on "
        f"{subject(engine, asked)}, mean +- standard error over events"
    ]
    if engine.latent.continuous:
        event = "x" if asked.real else "x + u, u ~ U[0, 1)"
        lines.append(f"of {event}: a density's bound, not to be compared with exact bits/dim")
    if codes:
        lines += [
            _bound_line("log p(x | z) + log p(z)", found.elbo, engine),
            f"  reconstruction log p(x | z) {Mean.of(found.reconstruction)} nats",
            f"  prior log p(z) {Mean.of(-found.kl)} nats",
        ]
        return lines
    lines += [
        _bound_line("ELBO", found.elbo, engine),
        _bound_line("IWAE", found.iwae, engine),
        f"  reconstruction E log p(x | z) {Mean.of(found.reconstruction)} nats",
    ]
    if asked.proposal == "posterior":
        lines.append(f"  KL(q(z | x) || p(z)) {Mean.of(found.kl)} nats{_closed(found)}")
    bad = int(found.unreliable.sum())
    advice = ": their standard errors mean little; raise -k" if bad else ""
    lines.append(f"{bad} of {len(found)} events have an ess below {LEAST_ESS:g}{advice}")
    return lines


def document(found: Bound, engine: "LatentEngine", asked: Asked) -> dict[str, Any]:
    """The JSON: means in nats and bits/dim, and what is told of each event."""
    means = {"elbo": found.elbo, "iwae": found.iwae, "reconstruction": found.reconstruction}
    means |= {"kl": found.kl} | ({} if found.kl_closed is None else {"kl_closed": found.kl_closed})
    bits = {name: _bits(getattr(found, name), engine) for name in ("elbo", "iwae")}
    codes = engine.latent.posterior == "codes"
    return {
        "backend": engine.backend.name,
        "device": engine.backend.device,
        "events": len(found),
        "k": found.k,
        "seed": asked.seed,
        "proposal": asked.proposal,
        "lower_bound_on": subject(engine, asked),
        "nats": {name: Mean.of(values).to_json() for name, values in means.items()},
        "bits_per_dim_upper_bound": {name: each.to_json() for name, each in bits.items()},
        "unreliable": 0 if codes else int(found.unreliable.sum()),
        "elbo": found.elbo.tolist(),
        "iwae": found.iwae.tolist(),
        "stderr_iwae": found.stderr_iwae.tolist(),
        "ess": found.ess.tolist(),
    }


def _bound_line(name: str, nats: NDArray[np.float64], engine: "LatentEngine") -> str:
    bits = _bits(nats, engine)
    return f"{name} {Mean.of(nats)} nats; at most {bits} bits/dim (an upper bound)"


def _bits(nats: NDArray[np.float64], engine: "LatentEngine") -> Mean:
    return Mean.of(bits_per_dim(nats, engine.data.event_shape))


def _closed(found: Bound) -> str:
    return "" if found.kl_closed is None else f", in closed form {Mean.of(found.kl_closed)}"
