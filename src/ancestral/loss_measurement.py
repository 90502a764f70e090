"""Likelihood that a model loses against its source, position by position, and its summary."""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int64
from numpy.typing import NDArray

from ancestral.bundles.cost import WORST, Cost, Quantity, Unit, WorstPosition
from ancestral.errors import InvalidInput
from ancestral.limits import NAME
from ancestral.paired_mean import PairedMean, paired_mean


@dataclass(frozen=True, slots=True)
class Distributions:
    """Differences in what comes next, at each position.

    Attributes:
        kl: KL(source || bundle) of the next value, in nats, [n, t].
        same_top: whether both have the same most probable value, [n, t].
        same_draw: whether the same uniform draws the same value from both, [n, t].
    """

    kl: Float[np.ndarray, "n t"]
    same_top: Bool[np.ndarray, "n t"]
    same_draw: Bool[np.ndarray, "n t"]


@dataclass(frozen=True, slots=True)
class Ran:
    """What was run, and with which noise.

    Attributes:
        backend: backend, device and dtype of the bundle.
        source_backend: the same of the source; None if its log p were given.
        source_sha256: hash of the source's manifest; None if its log p were given.
        seed: seed of the noise.
        k: number of latents of each bound; None for log p.
    """

    backend: str
    source_backend: str | None
    source_sha256: str | None
    seed: int
    k: int | None = None


@dataclass(frozen=True, slots=True)
class Comparison:
    """The nats that two models give to the same data; a bound has a single entry for an event.

    Attributes:
        source: log p of the values by the source, in nats, [n, t]; or its bounds, [n, 1].
        bundle: the same by the bundle.
        counted: which entries are compared, [n, t]; the others mean nothing.
        positions: number of positions of each unit that its entries are about, [n].
        unit: name of the units, which are independent of each other.
        ran: what was run.
        distributions: differences of next values; None for bounds, or if only log p was given.
        left_out: number of positions that the source gives no log p.
    """

    source: Float[np.ndarray, "n t"]
    bundle: Float[np.ndarray, "n t"]
    counted: Bool[np.ndarray, "n t"]
    positions: Int64[np.ndarray, " n"]
    unit: Unit
    ran: Ran
    distributions: Distributions | None = None
    left_out: int = 0

    def __post_init__(self) -> None:
        """Check that the differences are numbers.

        Raises:
            InvalidInput: at some position one of the two models excludes the value, or gives it a
                density that is not finite, and the other does not.
        """
        what = "log p" if self.quantity == "log_prob" else "the bound"
        wrong = np.argwhere(~np.isfinite(self.differences))
        if len(wrong):
            at = tuple(wrong[0].tolist())
            raise InvalidInput(
                f"{self._place(at)}: {what} is {self.bundle[at]} by the bundle and "
                f"{self.source[at]} by the source, so the mean loss is not finite; leave the "
                f"{self.unit[:-1]} out, or use a model that excludes no value"
            )
        if self.distributions is None:
            return
        wrong = np.argwhere(~np.isfinite(self.distributions.kl) & self.counted)
        if len(wrong):
            raise InvalidInput(
                f"{self._place(tuple(wrong[0].tolist()))}: KL(source || bundle) is not finite, as "
                f"the bundle excludes a value that the source allows; use a model that excludes "
                f"no value"
            )

    @property
    def quantity(self) -> Quantity:
        """Whether the nats are of log p or of a lower bound on it."""
        return "log_prob" if self.ran.k is None else "bound"

    @property
    def differences(self) -> NDArray[np.float64]:
        """The source's nats minus the bundle's, [n, t]; 0 where an entry does not count."""
        source, bundle = self.source.astype(np.float64), self.bundle.astype(np.float64)
        with np.errstate(invalid="ignore"):
            return np.where(self.counted & (source != bundle), source - bundle, 0.0)

    @property
    def loss(self) -> PairedMean:
        """Mean loss per position, in nats, and its standard error over units.

        Raises:
            InvalidInput: there are fewer than 2 units.
        """
        return paired_mean(self.differences.sum(axis=1), self.positions)

    @property
    def loss_by_unit(self) -> NDArray[np.float64]:
        """Loss of each unit per position, in nats, [n]; 0 for a unit that has no positions."""
        return np.asarray(self.differences.sum(axis=1) / np.maximum(self.positions, 1))

    @property
    def kl_by_position(self) -> NDArray[np.float64] | None:
        """Mean KL over units at each position, in nats, [t]; NaN where no unit has the position."""
        if self.distributions is None:
            return None
        units = self.counted.sum(axis=0)
        total = np.where(self.counted, self.distributions.kl, 0.0).sum(axis=0, dtype=np.float64)
        return np.where(units > 0, total / np.maximum(units, 1), np.nan)

    def cost(self, data: str, data_sha256: str | None = None) -> Cost:
        """Return the summary that a manifest keeps.

        Args:
            data: name of the data.
            data_sha256: hash of the file of the data.

        Raises:
            InvalidInput: there are fewer than 2 units, or the numbers do not fit a manifest.
        """
        loss, ran = self.loss, self.ran
        return Cost(
            quantity=self.quantity,
            unit=self.unit,
            events=loss.units,
            positions=int(self.positions.sum()),
            left_out=self.left_out,
            data=data[:NAME],
            data_sha256=data_sha256,
            source_sha256=ran.source_sha256,
            backend=ran.backend,
            source_backend=ran.source_backend,
            seed=ran.seed,
            k=ran.k,
            loss_nats=loss.nats,
            loss_error=loss.error,
            bits_per_dim=self._bits(self.bundle),
            source_bits_per_dim=self._bits(self.source),
            rms_delta_p=None if ran.k is not None else self._rms_delta_p(),
            worst=self._worst(),
            **self._next_values(),
        )

    def _place(self, at: tuple[int, ...]) -> str:
        """Return the name of an entry for errors."""
        unit = f"{self.unit[:-1]} {at[0]}"
        return unit if self.quantity == "bound" else f"{unit}, position {at[1]}"

    def _bits(self, nats: NDArray[np.floating]) -> float:
        total = np.where(self.counted, nats, 0.0).sum(dtype=np.float64)
        return float(-total / (self.positions.sum() * math.log(2)))

    def _rms_delta_p(self) -> float:
        p, q = (np.exp(each[self.counted], dtype=np.float64) for each in (self.source, self.bundle))
        return float(min(1.0, math.sqrt(np.square(p - q).mean())))

    def _next_values(self) -> dict[str, float]:
        """Return the fields of a cost about distributions of next values."""
        found = self.distributions
        if found is None:
            return {}
        kl = found.kl[self.counted]
        return {
            "kl_mean": float(kl.mean(dtype=np.float64)),
            "kl_median": float(np.quantile(kl, 0.5, method="inverted_cdf")),
            "kl_999": float(np.quantile(kl, 0.999, method="inverted_cdf")),
            "same_top": float(found.same_top[self.counted].mean()),
            "draws_differ": float((~found.same_draw[self.counted]).mean()),
        }

    def _worst(self) -> tuple[WorstPosition, ...]:
        differences = self.differences
        flat = np.abs(differences).ravel()
        order = np.argsort(-flat, kind="stable")[:WORST]
        places = [divmod(int(i), differences.shape[1]) for i in order if flat[i] > 0]
        bound = self.quantity == "bound"
        return tuple(
            WorstPosition(index=i, position=None if bound else t, nats=float(differences[i, t]))
            for i, t in places
        )
