"""Parity of a latent variable model: a backend beside the float64 reference."""

from dataclasses import asdict, dataclass

from ancestral.parity import ParityReport, failed


@dataclass(frozen=True, slots=True)
class LatentParityReport:
    """A backend beside the float64 reference, on the known answers of a bundle.

    Attributes:
        backend: its name.
        device: where it ran.
        dtype: what it computed in.
        events: number of events compared.
        latents: of each event; 1 for codes.
        max_abs_nats: largest |delta log w| of an event and one of its latents, from the event on:
            encoder, latent and all terms are the backend's. For codes log p(x | z) alone.
        mean_abs_nats: mean |delta log w|.
        mean_signed_nats: mean delta log w (backend less reference).
        worst_index: event of the largest difference.
        max_abs_term_nats: largest difference of log p(x | z), log p(z) or log q(z | x), on their
            own; log p(z) of drawn latents and log p(x | z) of drawn events too.
        limit_nats: what both may be at most.
        own_nats: PyTorch fp32's own largest error.
        bits_per_dim: the reference's bound (IWAE of these latents) on the model's own samples; of
            log p(x | z) alone for codes.
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
    events: int
    latents: int
    max_abs_nats: float
    mean_abs_nats: float
    mean_signed_nats: float
    worst_index: int
    max_abs_term_nats: float
    limit_nats: float
    own_nats: float
    bits_per_dim: float
    max_abs_mean: float
    limit_mean: float
    draws: int
    near_ties: int
    unexplained: int
    limit_cdf: float
    prior: ParityReport | None = None

    @property
    def failures(self) -> tuple[str, ...]:
        """Each check that failed, in words with its numbers; NaN fails."""
        own = failed(
            {
                "log w": (self.max_abs_nats, self.limit_nats),
                "a term of log w": (self.max_abs_term_nats, self.limit_nats),
                "E[x | z]": (self.max_abs_mean, self.limit_mean),
                "unexplained draws": (self.unexplained, 0),
            }
        )
        prior = () if self.prior is None else self.prior.failures
        return (*own, *(f"prior: {failure}" for failure in prior))

    @property
    def passed(self) -> bool:
        """Whether every check passed."""
        return not self.failures

    def to_json(self) -> dict[str, object]:
        """All fields, with `passed` and `failures`."""
        return {"passed": self.passed, **asdict(self), "failures": list(self.failures)}
