"""Parity of a latent variable model: a backend beside the float64 reference."""

from dataclasses import asdict, dataclass

from ancestral.parity import BothKinds, EventsParity, ParityReport, failed


@dataclass(frozen=True, slots=True)
class LatentEventsParity(EventsParity):
    """Events of a latent variable model: the terms of their log-weights too.

    Attributes:
        max_abs_term_nats: largest difference of log p(x | z), log p(z) or log q(z | x), on their
            own; of the sampled events log p(z) and log p(x | z) as they are drawn, too.
    """

    max_abs_term_nats: float

    @property
    def failures(self) -> tuple[str, ...]:
        """Each check that failed, in words with its numbers; NaN fails."""
        return failed(
            {
                "log w": (self.max_abs_nats, self.limit_nats),
                "a term of log w": (self.max_abs_term_nats, self.limit_nats),
            }
        )


@dataclass(frozen=True, slots=True)
class LatentParityReport(BothKinds):
    """A backend beside the float64 reference, on the known answers of a bundle.

    The numbers of nats, and their limit, that it gives by itself are those of the sampled events.

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
    unexplained: int
    limit_cdf: float
    prior: ParityReport | None = None

    @property
    def max_abs_term_nats(self) -> float:
        """Largest difference of a term of the sampled events."""
        return self.sampled.max_abs_term_nats

    @property
    def failures(self) -> tuple[str, ...]:
        """Each check that failed, in words with its numbers; NaN fails."""
        own = failed(
            {
                "E[x | z]": (self.max_abs_mean, self.limit_mean),
                "unexplained draws": (self.unexplained, 0),
            }
        )
        prior = () if self.prior is None else self.prior.failures
        return (
            *(f"sampled events: {failure}" for failure in self.sampled.failures),
            *(f"noise: {failure}" for failure in self.noise.failures),
            *own,
            *(f"prior: {failure}" for failure in prior),
        )

    @property
    def passed(self) -> bool:
        """Whether every check passed."""
        return not self.failures

    def to_json(self) -> dict[str, object]:
        """All fields, and those of the sampled events by themselves, `passed` and `failures`."""
        names = ["events", "max_abs_nats", "limit_nats", "mean_abs_nats", "mean_signed_nats"]
        names += ["max_abs_term_nats"]
        return {
            "passed": self.passed,
            **{name: getattr(self, name) for name in names},
            **asdict(self),
            "prior": None if self.prior is None else self.prior.to_json(),
            "failures": list(self.failures),
        }
