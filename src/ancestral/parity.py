"""Table of parity tolerances, and the report of a comparison with the float64 reference."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, cast

from ancestral.errors import InvalidInput


@dataclass(frozen=True, slots=True)
class Tolerance:
    """Largest allowed differences between a backend and the float64 reference.

    Each limit is `factor` times the error of PyTorch in float32, plus a floor.

    Attributes:
        factor: multiple of the error of PyTorch in float32, which shows how much a model magnifies
            rounding.
        nats_per_position: floor for log p of an event, in nats per position.
        cdf: floor for the edges of the cumulative distribution: a drawn value may differ only if u
            is nearer to an edge than the limit (a near tie).
        kl: floor for KL(reference || backend) of a next-value distribution, in nats.
        real: floor for real numbers that users get, relative to their range: to the levels for
            E[x | z] and real draws, to the largest for parameters of p(x | z), to 1 for latents.
    """

    factor: float
    nats_per_position: float
    cdf: float
    kl: float
    real: float


ROUNDED = "+int8"
"""End of the name of a type whose products round their activations to 8 bits."""
_FLOAT32 = Tolerance(factor=8.0, nats_per_position=1e-6, cdf=2e-6, kl=1e-10, real=1e-6)
# The floors are twice the largest errors of the toy models of the tests, whose weights are drawn
# wide, in PyTorch on a CPU: 0.048 and 0.0027 nats per position for bfloat16 and float16, 0.035 and
# 0.0024 in a cumulative probability, 5.4e-3 and 1.9e-5 nats of KL. A trained model of digits stays
# far below them (benchmarks/sixteen_bits.py). The factors are twice the ratios of these roundings
# to float32's, 2^16 and 2^13: the largest error of all toys is 1.2 times that ratio times the error
# in float32. Storing a real number rounds it once more: to 2^-7 and 2^-10.
_BFLOAT16 = Tolerance(factor=2.0**17, nats_per_position=0.1, cdf=0.07, kl=1.1e-2, real=2.0**-7)
_FLOAT16 = Tolerance(factor=2.0**14, nats_per_position=6e-3, cdf=5e-3, kl=4e-5, real=2.0**-10)
# Activations that are rounded to 8 bits: where x is halfway between two codes, an error in the
# last bit of float32 changes the code. In a small model that is rare, and each change costs about
# as much as the largest error of the toy models, in 12 draws of their weights: 7.4e-4 nats per
# position, 2.6e-3 in a cumulative probability and 2.0e-5 nats of KL, all in PyTorch on a CPU; the
# floors are twice that. In a wide model a changed code changes others in the next layers, so that
# every runtime has errors as large as the rounding itself. PyTorch's own error is then as large: a
# Transformer of width 512 with 4 layers has 2.7e-3 to 4.1e-3 nats per position, 8.3e-3 and 3.9e-4
# nats of KL, where the same weights with float32 activations have 3.3e-7, 9.1e-7 and 4.8e-12. The
# factor is therefore that of float32. No real number of the toys was off by more than 6e-7 of its
# range; their floor is float16's, for a code that changes in the other runtime only.
_ROUNDED = Tolerance(factor=8.0, nats_per_position=1.5e-3, cdf=5.2e-3, kl=4e-5, real=2.0**-10)
_TABLE = {
    (backend, dtype): entry
    for dtype, entry in (
        ("float32", _FLOAT32),
        ("bfloat16", _BFLOAT16),
        ("float16", _FLOAT16),
        (f"float32{ROUNDED}", _ROUNDED),
    )
    for backend in ("torch", "onnxruntime", "triton", "tensorrt")
    if (backend, dtype) != ("onnxruntime", "bfloat16")
}


def tolerance(backend: str, dtype: str) -> Tolerance:
    """Return the tolerance of a backend at a dtype; it depends on nothing else.

    Args:
        backend: name of the backend.
        dtype: type of the arithmetic; "float32+int8" if products round activations to 8 bits.

    Raises:
        InvalidInput: the table has no tolerance for them.
    """
    if (backend, dtype) not in _TABLE:
        raise InvalidInput(
            f"tolerance: expected a backend and a dtype of {list(_TABLE)}, got {backend}, {dtype}"
        )
    return _TABLE[backend, dtype]


def dtypes(backend: str) -> tuple[str, ...]:
    """Return the bundle dtypes that a backend supports: those with a tolerance in the table."""
    return tuple(dtype for name, dtype in _TABLE if name == backend and not dtype.endswith(ROUNDED))


EPSILON = {"float64": 2.0**-52, "float32": 2.0**-23, "float16": 2.0**-10, "bfloat16": 2.0**-7}
"""Distance from 1 to the next larger number of each dtype."""
SMALLEST_NORMAL = {
    "float64": 2.0**-1022,
    "float32": 2.0**-126,
    "float16": 2.0**-14,
    "bfloat16": 2.0**-126,
}
"""Smallest normal number of each dtype: below it, the rounding error no longer shrinks."""
ROUNDINGS = 8.0
"""Limit on the difference between two runtimes in a tensor inside a graph, in units of the rounding
error that export/trace/comparison.py expects. It is six times the largest difference in the toy
models of the tests and in a Transformer of width 512, in float32, float16 and bfloat16."""


Checks = Mapping[str, tuple[float, float]]
"""Value and limit of each check, by its name."""


def failed(checks: Checks) -> tuple[str, ...]:
    """Describe the checks whose value is over its limit or NaN."""
    return tuple(
        f"{name}: {value:.3g} is over {limit:.3g}"
        for name, (value, limit) in checks.items()
        if not value <= limit
    )


@dataclass(frozen=True, slots=True)
class EventsParity(ABC):
    """Log-probabilities of some known answers, compared with the float64 reference.

    Events that the model samples are like real data, with about a nat per position. Uniform noise
    is improbable, and its log-probabilities have larger rounding errors. So both kinds of events
    have their own limits.

    Attributes:
        events: number of events compared.
        max_abs_nats: largest |delta log p| of an event, over the positions compared. For a latent
            variable model, largest |delta log w| of an event and one of its latents, where the
            backend computes encoder, latent and all terms; for codes, log p(x | z) only.
        mean_abs_nats: mean of the same |delta|.
        mean_signed_nats: mean delta (backend minus reference).
        worst_index: index of the event of the largest difference, among all known answers.
        limit_nats: limit of max_abs_nats.
        own_nats: largest error of PyTorch in float32 on these events.
        bits_per_dim: mean negative log2-likelihood of the events per dimension, by the reference.
            For a latent variable model its bound (IWAE of these latents); for codes log p(x | z).
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
        """Checks on these events."""


@dataclass(frozen=True, slots=True)
class SequenceParity(EventsParity):
    """Parity of events of an autoregressive model, including conditionals and draws.

    Attributes:
        max_abs_position_nats: largest |delta log p| of a single position.
        max_abs_step_nats: largest |delta log p| of an event or a position, from the cached steps.
        max_abs_speculated_nats: the same of samples that are drawn in blocks of proposals; 0 if the
            model is drawn step by step.
        max_abs_top_nats: largest error of the most probable values, in nats: of their log p, and by
            how much a value is less probable under the reference than the one that is due there.
        max_kl: largest KL(reference || backend) of a next-value distribution, in nats.
        limit_kl: limit of max_kl.
        argmax_flips: number of most probable values that differ although the reference's gap to the
            second most probable value is beyond the limits.
        draws: number of drawn values that were compared.
        near_ties: number of them that differ where the reference has a tie.
        unexplained: number of them that differ elsewhere; must be 0.
        filtered_draws: number of the drawn values that have a temperature or filters; those without
            are the others.
        filtered_near_ties: near ties among them.
        filtered_unexplained: unexplained differences among them; must be 0.
        limit_cdf: largest distance of u from an edge at which a difference is a near tie.
        limit_filtered: the same for draws at temperatures and with filters, and the largest
            distance of the mass before a value from top-p's.
        limit_gap: largest distance of a logit from the threshold of a filter at which a difference
            is a near tie, in nats after the temperature.
    """

    max_abs_position_nats: float
    max_abs_step_nats: float
    max_abs_speculated_nats: float
    max_abs_top_nats: float
    max_kl: float
    limit_kl: float
    argmax_flips: int
    draws: int
    near_ties: int
    unexplained: int
    filtered_draws: int
    filtered_near_ties: int
    filtered_unexplained: int
    limit_cdf: float
    limit_filtered: float
    limit_gap: float

    @property
    def checks(self) -> Checks:
        """Checks on these events."""
        return {
            "log p": (self.max_abs_nats, self.limit_nats),
            "log p of a position": (self.max_abs_position_nats, self.limit_nats),
            "log p along the steps": (self.max_abs_step_nats, self.limit_nats),
            "log p along blocks of proposals": (self.max_abs_speculated_nats, self.limit_nats),
            "most probable values": (self.max_abs_top_nats, self.limit_nats),
            "KL": (self.max_kl, self.limit_kl),
            "argmax flips": (self.argmax_flips, 0),
            "unexplained draws": (self.unexplained, 0),
            "unexplained draws with settings": (self.filtered_unexplained, 0),
        }


class Report(ABC):
    """Parity of a backend on sampled events and on noise, for any kind of model.

    Its own properties in nats, and their limit, are about the sampled events. A delta is a
    difference in log p, or in log w for a model with latents.

    Attributes:
        backend: name of the backend.
        device: device on which it ran.
        dtype: dtype in which it computed.
        sampled: parity on events that the model samples.
        noise: parity on events of uniform noise.
    """

    __slots__ = ()
    totals: ClassVar[tuple[str, ...]] = (
        "events",
        "max_abs_nats",
        "limit_nats",
        "mean_abs_nats",
        "mean_signed_nats",
    )
    """Properties that `to_json` writes in addition to the fields."""
    backend: str
    device: str
    dtype: str
    sampled: EventsParity
    noise: EventsParity

    @property
    @abstractmethod
    def unexplained(self) -> int:
        """Number of drawn values that differ and are not near ties; must be 0."""

    @property
    def events(self) -> int:
        """Number of events of both kinds."""
        return self.sampled.events + self.noise.events

    @property
    def max_abs_nats(self) -> float:
        """Largest |delta| of a sampled event."""
        return self.sampled.max_abs_nats

    @property
    def limit_nats(self) -> float:
        """Limit of max_abs_nats."""
        return self.sampled.limit_nats

    @property
    def mean_abs_nats(self) -> float:
        """Mean |delta| of the sampled events."""
        return self.sampled.mean_abs_nats

    @property
    def mean_signed_nats(self) -> float:
        """Mean delta of the sampled events (backend minus reference)."""
        return self.sampled.mean_signed_nats

    @property
    def failures(self) -> tuple[str, ...]:
        """Description of each failed check, with its value and limit; NaN fails."""
        return (
            *(f"sampled events: {failure}" for failure in failed(self.sampled.checks)),
            *(f"noise: {failure}" for failure in failed(self.noise.checks)),
            *self.other_failures(),
        )

    def other_failures(self) -> tuple[str, ...]:
        """Return the failed checks that concern neither kind of events; none by default."""
        return ()

    @property
    def passed(self) -> bool:
        """Whether every check passed."""
        return not self.failures

    def to_json(self) -> dict[str, object]:
        """Return all fields and totals, with `passed` and `failures`."""
        return {
            "passed": self.passed,
            **{name: getattr(self, name) for name in self.totals},
            **asdict(cast(Any, self)),
            "failures": list(self.failures),
        }


@dataclass(frozen=True, slots=True)
class ParityReport(Report):
    """Comparison of a backend with the float64 reference on the known answers of a bundle.

    Attributes:
        backend: name of the backend.
        device: device on which it ran.
        dtype: dtype in which it computed.
        positions: number of positions that were compared, from the first one of each event on.
        length: number of positions in an event.
        sampled: parity on events that the model samples.
        noise: parity on events of uniform noise.
    """

    totals: ClassVar[tuple[str, ...]] = (
        *Report.totals,
        *("max_kl", "argmax_flips", "draws", "near_ties", "unexplained"),
        *("filtered_draws", "filtered_near_ties", "filtered_unexplained"),
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
        """Largest KL of a next-value distribution in the sampled events, in nats."""
        return self.sampled.max_kl

    @property
    def argmax_flips(self) -> int:
        """Number of argmax flips in the events of both kinds."""
        return self.sampled.argmax_flips + self.noise.argmax_flips

    @property
    def draws(self) -> int:
        """Number of drawn values that were compared, in the events of both kinds."""
        return self.sampled.draws + self.noise.draws

    @property
    def near_ties(self) -> int:
        """Number of near ties in the events of both kinds."""
        return self.sampled.near_ties + self.noise.near_ties

    @property
    def unexplained(self) -> int:
        """Number of drawn values of both kinds that differ and are not near ties; must be 0."""
        return self.sampled.unexplained + self.noise.unexplained

    @property
    def filtered_draws(self) -> int:
        """Number of the drawn values that have a temperature or filters."""
        return self.sampled.filtered_draws + self.noise.filtered_draws

    @property
    def filtered_near_ties(self) -> int:
        """Number of near ties among the draws with a temperature or filters."""
        return self.sampled.filtered_near_ties + self.noise.filtered_near_ties

    @property
    def filtered_unexplained(self) -> int:
        """Number of unexplained draws with a temperature or filters; must be 0."""
        return self.sampled.filtered_unexplained + self.noise.filtered_unexplained
