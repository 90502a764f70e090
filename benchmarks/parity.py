"""Parity of a measured run with the reference; no speed is reported without it."""

import math
from dataclasses import dataclass
from typing import Self

from ancestral.latent_parity import LatentParityReport
from ancestral.parity import ParityReport


@dataclass(frozen=True, slots=True, kw_only=True)
class Parity:
    """The differences between a measured run and the reference.

    Attributes:
        verified: whether every check of `Engine.verify` passed; None without a bundle.
        max_abs_nats: largest |delta log p| of an event; None if no events were compared.
        limit_nats: limit of each difference of log p.
        near_ties: number of drawn values that differ from the reference in a near tie.
        unexplained: number of drawn values that differ otherwise.
        sample_nats: largest |log p of the loop's samples - log p of the parallel graph|; None if
            the row timed no loop.
        baseline_nats: the same for the baseline's samples; None without a baseline.
        reference: what the events, or a kernel's results, were compared with.
        relative: largest error of a kernel's result, relative to the largest exact value of its
            row.
        limit_relative: limit of `relative`.
    """

    verified: bool | None = None
    max_abs_nats: float | None = None
    limit_nats: float | None = None
    near_ties: int = 0
    unexplained: int = 0
    sample_nats: float | None = None
    baseline_nats: float | None = None
    reference: str = "known answers"
    relative: float | None = None
    limit_relative: float | None = None

    @classmethod
    def of(cls, report: ParityReport | LatentParityReport) -> Self:
        """Return the parity in a report of `Engine.verify`."""
        return cls(
            verified=report.passed,
            max_abs_nats=report.max_abs_nats,
            limit_nats=report.limit_nats,
            near_ties=report.near_ties,
            unexplained=report.unexplained,
        )

    @property
    def unit(self) -> str:
        """The unit of the differences and the limit: nats, or "relative" for a kernel's result."""
        return "nats" if self.relative is None else "relative"

    @property
    def limit(self) -> float:
        """The limit of each difference; NaN without one, which every difference fails."""
        limit = self.limit_nats if self.relative is None else self.limit_relative
        return math.nan if limit is None else limit

    @property
    def differences(self) -> dict[str, float]:
        """The measured differences, by what was compared."""
        found = {
            self.reference: self.max_abs_nats if self.relative is None else self.relative,
            "log p of our samples": self.sample_nats,
            "log p of the baseline's samples": self.baseline_nats,
        }
        return {name: value for name, value in found.items() if value is not None}

    @property
    def words(self) -> str:
        """The largest difference and its limit, as text."""
        return f"{max(self.differences.values()):.1e} of {self.limit:.1e}"

    @property
    def failures(self) -> tuple[str, ...]:
        """The checks that failed, one text each; NaN fails."""
        found = ["Engine.verify failed"] if self.verified is False else []
        found += [f"{self.unexplained} unexplained draws"] if self.unexplained else []
        found += [
            f"{name}: {value:.3g} {self.unit} is over {self.limit:.3g}"
            for name, value in self.differences.items()
            if not value <= self.limit
        ]
        return tuple(found)
