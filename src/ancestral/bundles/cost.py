"""Cost of a bundle in likelihood, compared with its source: what `ancestral compare` measures."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from ancestral import limits
from ancestral.signature import Record

Quantity = Literal["log_prob", "bound"]
"""What was compared: log p of each value, or a lower bound on log p of each event."""
Unit = Literal["events", "windows"]
"""Independent parts of the data: whole events, or windows of a text."""
WORST = 5
"""Positions that a record lists as the worst."""
CONFIDENCE = 2.0
"""Standard errors above the mean that a bundle within a budget keeps below the budget."""
_EXTREME = 1e12
"""Largest magnitude of a number of nats or bits, far above any sum over an event."""

Nats = Annotated[float, Field(ge=-_EXTREME, le=_EXTREME, allow_inf_nan=False)]
Positive = Annotated[float, Field(ge=0, le=_EXTREME, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Name = Annotated[str, Field(max_length=limits.NAME)]
Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
Count = Annotated[int, Field(ge=0, le=limits.SIZE)]

_DISTRIBUTION = ("kl_mean", "kl_median", "kl_999", "same_top", "draws_differ")


class WorstPosition(Record):
    """One of the positions where source and bundle differ most.

    Attributes:
        index: index of the event or window in the data.
        position: position in the ordering of the event; `None` for a bound, which has no positions.
        nats: log p by the source minus log p by the bundle, in nats.
    """

    index: Count
    position: Count | None
    nats: Nats


class Cost(Record):
    """Likelihood that a bundle loses against its source on the same data.

    Differences are the source's log p minus the bundle's: a positive loss means that the bundle
    gives the data less probability.

    Attributes:
        quantity: "log_prob", or "bound" for latent variable models, whose log p is not known.
        unit: independent units of the standard error; positions of one unit are not independent.
        events: number of these units.
        positions: number of positions compared, in all units; dimensions for a bound.
        left_out: number of positions that the source gives no log p, which are not compared.
        data: name of the data.
        data_sha256: hash of the file of the data; `None` if they are not from a file.
        source_sha256: hash of the source's manifest; `None` if the source is a file of log p.
        backend: backend, device and dtype that ran the bundle.
        source_backend: the same of the source; `None` if it is a file of log p.
        seed: seed of the uniforms of the draws, or of the noise of the bounds.
        k: number of latents of each bound; `None` for log p.
        loss_nats: mean difference, in nats per position.
        loss_error: standard error of `loss_nats` over the units.
        bits_per_dim: mean negative log2-likelihood per position by the bundle; for bounds, an upper
            bound on it.
        source_bits_per_dim: the same by the source.
        kl_mean: mean KL(source || bundle) of the next value, in nats; like the next four, `None`
            if the source or the quantity has no distribution of next values.
        kl_median: median of the KL over positions, in nats.
        kl_999: KL that 99.9% of positions do not exceed, in nats.
        same_top: share of positions where both have the same most probable value.
        draws_differ: share of positions where the same uniform draws another value.
        rms_delta_p: root mean square of the difference in p of the observed values; `None` for a
            bound.
        worst: positions of the largest differences, the largest magnitude first.
    """

    quantity: Quantity
    unit: Unit
    events: int = Field(ge=2, le=limits.SIZE)
    positions: int = Field(ge=1, le=limits.SIZE)
    left_out: Count = 0
    data: Name
    data_sha256: Sha256 | None
    source_sha256: Sha256 | None
    backend: Name
    source_backend: Name | None
    seed: int = Field(ge=0, lt=2**64)
    k: int | None = Field(default=None, ge=1, lt=2**32)
    loss_nats: Nats
    loss_error: Positive
    bits_per_dim: Nats
    source_bits_per_dim: Nats
    kl_mean: Positive | None = None
    kl_median: Positive | None = None
    kl_999: Positive | None = None
    same_top: Share | None = None
    draws_differ: Share | None = None
    rms_delta_p: Share | None = None
    worst: tuple[WorstPosition, ...] = Field(max_length=WORST)

    @property
    def upper_nats(self) -> float:
        """Loss that a budget is compared with: the mean plus 2 standard errors, in nats."""
        return self.loss_nats + CONFIDENCE * self.loss_error

    @model_validator(mode="after")
    def _agrees(self) -> "Cost":
        """Check that the fields fit the quantity, and that those of distributions are together."""
        bound = self.quantity == "bound"
        if bound != (self.k is not None):
            raise ValueError(f"k: expected a number for bounds only, got {self.k}")
        missing = [getattr(self, name) is None for name in _DISTRIBUTION]
        if any(missing) and (not all(missing)):
            raise ValueError(f"kl_mean: expected all of {', '.join(_DISTRIBUTION)}, got some")
        if bound and not (all(missing) and self.rms_delta_p is None):
            raise ValueError("kl_mean: expected no numbers about next values for a bound")
        return self
