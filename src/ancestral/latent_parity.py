"""Parity of a latent variable model: a backend compared with the float64 reference."""

from dataclasses import dataclass, field
from typing import ClassVar

from ancestral.parity import Checks, EventsParity, ParityReport, Report, failed


@dataclass(frozen=True, slots=True)
class LatentEventsParity(EventsParity):
    """Parity of events of a latent variable model, including the terms of their log-weights.

    Attributes:
        max_abs_term_nats: largest difference in one of log p(x | z), log p(z) and log q(z | x); for
            sampled events also in log p(z) and log p(x | z) as they are drawn.
    """

    max_abs_term_nats: float

    @property
    def checks(self) -> Checks:
        """Checks on these events."""
        return {
            "log w": (self.max_abs_nats, self.limit_nats),
            "a term of log w": (self.max_abs_term_nats, self.limit_nats),
        }


@dataclass(frozen=True, slots=True)
class LatentParityReport(Report):
    """Comparison of a backend with the float64 reference on the known answers of a bundle.

    Attributes:
        backend: name of the backend.
        device: device on which it ran.
        dtype: dtype in which it computed.
        latents: number of latents per event; 1 for codes.
        sampled: parity on events that the model samples.
        noise: parity on events of uniform noise.
        max_abs_mean: largest |delta E[x | z]|, in levels.
        limit_mean: limit of max_abs_mean.
        draws: number of compared values, latents and codes that were drawn or chosen, and of
            compared parameters of p(x | z).
        near_ties: number of them that differ within the limit of an edge or of an equal distance.
        unexplained: number of them that differ elsewhere; must be 0.
        limit_cdf: largest distance from an edge at which a difference is a near tie.
        prior: parity of the autoregressive prior over codes; `None` without one.
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
    # Without `field()` the property of Report would become the default value.
    unexplained: int = field()
    limit_cdf: float
    prior: ParityReport | None = None

    @property
    def max_abs_term_nats(self) -> float:
        """Largest difference in a term of the log-weights of the sampled events, in nats."""
        return self.sampled.max_abs_term_nats

    def other_failures(self) -> tuple[str, ...]:
        """Return the failed checks on the means, the draws and the prior."""
        prior = () if self.prior is None else self.prior.failures
        checks: Checks = {
            "E[x | z]": (self.max_abs_mean, self.limit_mean),
            "unexplained draws": (self.unexplained, 0),
        }
        return (*failed(checks), *(f"prior: {failure}" for failure in prior))

    def to_json(self) -> dict[str, object]:
        """Return all fields and totals; the prior has its own `passed` and `failures`."""
        prior = None if self.prior is None else self.prior.to_json()
        return Report.to_json(self) | {"prior": prior}
