"""What parity means: the one table of tolerances, and the report that is compared with it."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, cast

from ancestral.errors import InvalidInput


@dataclass(frozen=True, slots=True)
class Tolerance:
    """How far a backend may be from the float64 reference.

    A limit is `factor` times the reference's own float32 error plus a floor.

    Attributes:
        factor: times PyTorch fp32's own error, which tells how a model magnifies rounding.
        nats_per_position: floor for log p of an event, in nats, times its positions.
        cdf: floor for the edges of the cumulative distribution: a drawn value may differ only
            where u lies nearer than the limit to an edge (a near tie).
        kl: floor for KL(reference || backend) of a next-value distribution, in nats.
        real: floor for real numbers that are given to users, relative to their range: E[x | z] and
            real draws to the levels, parameters of p(x | z) to the largest, latents to 1.
    """

    factor: float
    nats_per_position: float
    cdf: float
    kl: float
    real: float


_FLOAT32 = Tolerance(factor=8.0, nats_per_position=1e-6, cdf=2e-6, kl=1e-10, real=1e-6)
# The floors are twice the worst of the toys of the tests, whose weights are drawn wide, in PyTorch
# on a CPU: 0.048 and 0.0027 nats a position, 0.035 and 0.0024 of a cumulative probability, KL of
# 5.4e-3 and 1.9e-5. A trained model of digits stays far below (benchmarks/sixteen_bits.py). The
# factors are twice the ratio of the roundings, 2^16 and 2^13 times float32's: of all toys the worst
# error is 1.2 times that ratio times fp32's own. A real number is rounded once more where it is
# kept: to 2^-7 and 2^-10.
_BFLOAT16 = Tolerance(factor=2.0**17, nats_per_position=0.1, cdf=0.07, kl=1.1e-2, real=2.0**-7)
_FLOAT16 = Tolerance(factor=2.0**14, nats_per_position=6e-3, cdf=5e-3, kl=4e-5, real=2.0**-10)
_TABLE = {
    (backend, dtype): entry
    for dtype, entry in (("float32", _FLOAT32), ("bfloat16", _BFLOAT16), ("float16", _FLOAT16))
    for backend in ("torch", "onnxruntime", "triton", "tensorrt")
    if (backend, dtype) != ("onnxruntime", "bfloat16")
}


def tolerance(backend: str, dtype: str) -> Tolerance:
    """The tolerance of a backend at a dtype: nothing else changes it.

    Raises:
        InvalidInput: none was set.
    """
    if (backend, dtype) not in _TABLE:
        raise InvalidInput(f"tolerance: none was set for {backend} in {dtype}, only {list(_TABLE)}")
    return _TABLE[backend, dtype]


def dtypes(backend: str) -> tuple[str, ...]:
    """The types of bundles that a backend computes in: those for which a tolerance was set."""
    return tuple(dtype for name, dtype in _TABLE if name == backend)


EPSILON = {"float64": 2.0**-52, "float32": 2.0**-23, "float16": 2.0**-10, "bfloat16": 2.0**-7}
"""Distance from 1 to the next number."""
SMALLEST_NORMAL = {
    "float64": 2.0**-1022,
    "float32": 2.0**-126,
    "float16": 2.0**-14,
    "bfloat16": 2.0**-126,
}
"""Below it, numbers have fewer digits: rounding is as large as here."""
ROUNDINGS = 8.0
"""Limit of the distance of two runtimes in a tensor inside a graph, in units of the error that
export/trace/comparison.py expects of rounding: six times the worst of the toys of the tests and of
a Transformer of width 512, in float32, float16 and bfloat16."""


Checks = Mapping[str, tuple[float, float]]
"""Values and their limits, by what is checked."""


def failed(checks: Checks) -> tuple[str, ...]:
    """Each of the checks (value, limit) whose value is over its limit; NaN is."""
    return tuple(
        f"{name}: {value:.3g} is over {limit:.3g}"
        for name, (value, limit) in checks.items()
        if not value <= limit
    )


@dataclass(frozen=True, slots=True)
class EventsParity(ABC):
    """Log-probabilities of some events of the known answers, compared with the float64 reference.

    The events that the model samples are like real data: about a nat a position, where uniform
    noise is improbable and its log-probabilities have larger rounding errors. So each kind has a
    limit of its own.

    Attributes:
        events: number of events compared.
        max_abs_nats: largest |delta log p| of an event, as far as it was compared; of a latent
            variable model |delta log w| of an event and one of its latents, from the event on:
            encoder, latent and all terms are the backend's. For codes log p(x | z) only.
        mean_abs_nats: the mean of this.
        mean_signed_nats: mean delta (backend less reference).
        worst_index: event of the largest difference, counted among all known answers.
        limit_nats: what max_abs_nats may be at most.
        own_nats: PyTorch fp32's own largest error on these events.
        bits_per_dim: mean negative log2-likelihood of the events per dimension, by the reference;
            of a latent variable model its bound (IWAE of these latents), for codes log p(x | z).
    """

    events: int
    max_abs_nats: float
    mean_abs_nats: float
    mean_signed_nats: float
    worst_index: int
    limit_nats: float
    own_nats: float
    bits_per_dim: float

    @property
    @abstractmethod
    def checks(self) -> Checks:
        """What is checked of these events."""


@dataclass(frozen=True, slots=True)
class SequenceParity(EventsParity):
    """Events of an autoregressive model: their conditionals too, and what is drawn along them.

    Attributes:
        max_abs_position_nats: largest |delta log p| of a single position.
        max_abs_step_nats: the same, of an event or a position, along the cached steps.
        max_kl: largest KL(reference || backend) of a next-value distribution, in nats.
        limit_kl: what max_kl may be at most.
        argmax_flips: most probable values that differ though the reference's gap is beyond limits.
        draws: values drawn and compared.
        near_ties: drawn values that differ where u is within limit_cdf of an edge.
        unexplained: drawn values that differ elsewhere; must be 0.
        limit_cdf: how near to an edge a near tie is.
    """

    max_abs_position_nats: float
    max_abs_step_nats: float
    max_kl: float
    limit_kl: float
    argmax_flips: int
    draws: int
    near_ties: int
    unexplained: int
    limit_cdf: float

    @property
    def checks(self) -> Checks:
        """What is checked of these events."""
        return {
            "log p": (self.max_abs_nats, self.limit_nats),
            "log p of a position": (self.max_abs_position_nats, self.limit_nats),
            "log p along the steps": (self.max_abs_step_nats, self.limit_nats),
            "KL": (self.max_kl, self.limit_kl),
            "argmax flips": (self.argmax_flips, 0),
            "unexplained draws": (self.unexplained, 0),
        }


class Report(ABC):
    """What a backend was found to be, on sampled events and on noise; whatever the kind of model.

    The numbers of nats, and their limit, that it gives by itself are those of the sampled events. A
    delta is that of log p, or of log w where there are latents.

    Attributes:
        backend: its name.
        device: where it ran.
        dtype: what it computed in.
        sampled: the events that the model itself samples.
        noise: the events of uniform noise.
    """

    __slots__ = ()
    totals: ClassVar[tuple[str, ...]] = (
        "events",
        "max_abs_nats",
        "limit_nats",
        "mean_abs_nats",
        "mean_signed_nats",
    )
    """Properties that are written in addition to the fields."""
    backend: str
    device: str
    dtype: str
    sampled: EventsParity
    noise: EventsParity

    @property
    @abstractmethod
    def unexplained(self) -> int:
        """Drawn values that differ and are not near ties; must be 0."""

    @property
    def events(self) -> int:
        """Events of both kinds."""
        return self.sampled.events + self.noise.events

    @property
    def max_abs_nats(self) -> float:
        """Largest |delta| of a sampled event."""
        return self.sampled.max_abs_nats

    @property
    def limit_nats(self) -> float:
        """What it may be at most."""
        return self.sampled.limit_nats

    @property
    def mean_abs_nats(self) -> float:
        """Mean |delta| of the sampled events."""
        return self.sampled.mean_abs_nats

    @property
    def mean_signed_nats(self) -> float:
        """Mean delta of the sampled events (backend less reference)."""
        return self.sampled.mean_signed_nats

    @property
    def failures(self) -> tuple[str, ...]:
        """Each check that failed, in words with its numbers; NaN fails."""
        return (
            *(f"sampled events: {failure}" for failure in failed(self.sampled.checks)),
            *(f"noise: {failure}" for failure in failed(self.noise.checks)),
            *self.other_failures(),
        )

    def other_failures(self) -> tuple[str, ...]:
        """Checks that failed of what belongs to no kind of events; none by default."""
        return ()

    @property
    def passed(self) -> bool:
        """Whether every check passed."""
        return not self.failures

    def to_json(self) -> dict[str, object]:
        """All fields and totals, with `passed` and `failures`."""
        return {
            "passed": self.passed,
            **{name: getattr(self, name) for name in self.totals},
            **asdict(cast(Any, self)),
            "failures": list(self.failures),
        }


@dataclass(frozen=True, slots=True)
class ParityReport(Report):
    """A backend compared with the float64 reference, on the known answers of a bundle.

    Attributes:
        backend: its name.
        device: where it ran.
        dtype: what it computed in.
        positions: of each event that were compared, the first ones.
        length: positions of an event.
        sampled: the events that the model itself samples.
        noise: the events of uniform noise.
    """

    totals: ClassVar[tuple[str, ...]] = (
        *Report.totals,
        *("max_kl", "argmax_flips", "draws", "near_ties", "unexplained"),
    )
    backend: str
    device: str
    dtype: str
    positions: int
    length: int
    sampled: SequenceParity
    noise: SequenceParity

    @property
    def max_kl(self) -> float:
        """Largest KL of a next-value distribution along the sampled events, in nats."""
        return self.sampled.max_kl

    @property
    def argmax_flips(self) -> int:
        """Flips along the events of both kinds."""
        return self.sampled.argmax_flips + self.noise.argmax_flips

    @property
    def draws(self) -> int:
        """Values drawn and compared, along the events of both kinds."""
        return self.sampled.draws + self.noise.draws

    @property
    def near_ties(self) -> int:
        """Near ties of both kinds."""
        return self.sampled.near_ties + self.noise.near_ties

    @property
    def unexplained(self) -> int:
        """Drawn values of both kinds that differ and are not near ties; must be 0."""
        return self.sampled.unexplained + self.noise.unexplained
