"""Parity of a latent variable model: a backend beside the float64 reference."""

from dataclasses import dataclass, field
from typing import ClassVar

from ancestral.parity import Checks, EventsParity, ParityReport, Report, failed


@dataclass(frozen=True, slots=True)
class LatentEventsParity(EventsParity):
    """Events of a latent variable model: the terms of their log-weights too.

    Attributes:
        max_abs_term_nats: largest difference of log p(x | z), log p(z) or log q(z | x), on their
            own; of the sampled events log p(z) and log p(x | z) as they are drawn, too.
    """

    max_abs_term_nats: float

    @property
    def checks(self) -> Checks:
        """What is checked of these events."""
        return {
            "log w": (self.max_abs_nats, self.limit_nats),
            "a term of log w": (self.max_abs_term_nats, self.limit_nats),
        }


@dataclass(frozen=True, slots=True)
class LatentParityReport(Report):
    """A backend beside the float64 reference, on the known answers of a bundle.

    Attributes:
        backend: its name.
        device: where it ran.
        dtype: what it computed in.
        latents: of each event; 1 for codes.
        sampled: the events that the model itself draws.
        noise: the events of uniform noise.
        max_abs_mean: largest |delta E[x | z]|, in levels.
        limit_mean: what it may be at most.
        draws: values, latents and codes drawn or chosen, and numbers of p(x | z) decoded, that were
            compared.
        near_ties: those that differ within limits of an edge, or of an equal distance.
        unexplained: those that differ elsewhere; must be 0.
        limit_cdf: how near to an edge a near tie is.
        prior: of the prior over codes; None without.
    """

    totals: ClassVar[tuple[str, ...]] = (*Report.totals, "max_abs_term_nats")
    backend: str
    device: str
    dtype: str
    latents: int
    sampled: LatentEventsParity
    noise: LatentEventsParity
    max_abs_mean: float
    limit_mean: float
    draws: int
    near_ties: int
    # Without `field()` the property of Report would be its default.
    unexplained: int = field()
    limit_cdf: float
    prior: ParityReport | None = None

    @property
    def max_abs_term_nats(self) -> float:
        """Largest difference of a term of the sampled events."""
        return self.sampled.max_abs_term_nats

    def other_failures(self) -> tuple[str, ...]:
        """Checks that failed of the means, the draws and the prior."""
        prior = () if self.prior is None else self.prior.failures
        checks: Checks = {
            "E[x | z]": (self.max_abs_mean, self.limit_mean),
            "unexplained draws": (self.unexplained, 0),
        }
        return (*failed(checks), *(f"prior: {failure}" for failure in prior))

    def to_json(self) -> dict[str, object]:
        """As of every report; of the prior, its own."""
        prior = None if self.prior is None else self.prior.to_json()
        return Report.to_json(self) | {"prior": prior}
