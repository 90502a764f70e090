"""A part of the measurement: what its cells are given, and what they give."""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import torch

from benchmarks.gpu.clock import Clock
from benchmarks.gpu.floor import Ceilings, Work, name_of
from benchmarks.gpu.found import Found
from benchmarks.gpu.rows import Parity, Row, Target
from benchmarks.rows import commit, paired_ratio, percentiles

PARTS = (
    "ceilings",
    "cached_attention",
    "masked_attention",
    "linear",
    "sample_token",
    "steps",
    "tensorrt",
)
"""Each a module of this package with a function `cells`."""


@dataclass(frozen=True, slots=True)
class Skipped:
    """What was not measured, and why; the others go on."""

    what: str
    why: str


@dataclass(frozen=True, slots=True)
class Failed:
    """What went wrong: the run ends with exit status 1."""

    what: str
    why: str


Result = Row | Skipped | Failed


@dataclass(frozen=True, slots=True)
class Bench:
    """What the cells of a part are given.

    Attributes:
        device: where everything runs.
        machine: of the rows.
        ceilings: as measured before; empty where they were not.
        until: when the part has to be over, by time.monotonic.
        bundles: folder of exported models.
        commit: of the rows.
    """

    device: torch.device
    machine: Found
    ceilings: Ceilings
    until: float
    bundles: Path
    commit: str = field(default_factory=commit)

    @property
    def rehearsal(self) -> bool:
        """Whether kernels are interpreted on tiny sizes, and nothing is a result."""
        return self.device.type == "cpu"

    @property
    def left(self) -> float:
        """Seconds of the part."""
        return self.until - time.monotonic()

    def clock(self, measure_ms: float = 40.0) -> Clock:
        """Of the device."""
        return Clock(self.device, measure_ms=measure_ms)

    def row(  # noqa: PLR0913 - a row's own fields
        self,
        case: tuple[str, str],
        dtype: torch.dtype,
        ours: tuple[float, ...],
        parity: Parity,
        *,
        unit: str = "ms",
        work: Work | None = None,
        baseline: tuple[str, tuple[float, ...]] | None = None,
        targets: Sequence[Callable[["Measured"], Target | None]] = (),
        details: Mapping[str, float] | None = None,
    ) -> Row:
        """A row of milliseconds.

        Args:
            case: the part, and the sizes in words.
            dtype: that was computed in.
            ours: milliseconds of each round.
            parity: of the same run.
            unit: of these numbers.
            work: what was done in that time, at the least.
            baseline: its name and rounds.
            targets: what is to be reached, of the ratio and the share.
            details: further numbers.
        """
        quantiles = percentiles(ours)
        floor = work.floor_ms(self.ceilings) if work is not None else None
        ratio = None if baseline is None else paired_ratio(ours, baseline[1])
        share = None if floor is None else floor[1] / quantiles["p50"]
        counted = None if work is None else work.counted(None if floor is None else floor[0])
        found = [target(Measured(ratio, share)) for target in targets]
        return Row(
            part=case[0],
            case=case[1],
            dtype=name_of(dtype),
            unit=unit,
            rounds=len(ours),
            **quantiles,
            baseline=None if baseline is None else baseline[0],
            baseline_p50=None if baseline is None else float(np.median(baseline[1])),
            ratio=ratio,
            rate=None if counted is None else counted[0] / quantiles["p50"] * 1e3,
            rate_unit=None if counted is None else counted[1],
            ceiling=None if floor is None else floor[0],
            share=share,
            parity=parity,
            machine=self.machine,
            commit=self.commit,
            date=datetime.now(UTC).isoformat(timespec="seconds"),
            rehearsal=self.rehearsal,
            targets=tuple(each for each in found if each is not None),
            details=dict(details or {}),
        )


@dataclass(frozen=True, slots=True)
class Measured:
    """What targets speak of: baseline / ours, and the share of the ceiling; None where unknown."""

    ratio: float | None
    share: float | None


def ratio_of(least: float) -> Callable[[Measured], Target | None]:
    """A target: so many times as fast as the baseline."""
    return lambda got: (
        None if got.ratio is None else Target(f"baseline / ours >= {least:g}", got.ratio >= least)
    )


def share_of(least: float) -> Callable[[Measured], Target | None]:
    """A target: that share of the ceiling."""
    return lambda got: (
        None if got.share is None else Target(f"share >= {least:g}", got.share >= least)
    )


@dataclass(frozen=True, slots=True)
class Cell:
    """A few rows that are measured together.

    Attributes:
        name: in words.
        measure: the rows, and what was skipped of them.
    """

    name: str
    measure: Callable[[Bench], Iterable[Row | Skipped]]


def sentence(error: BaseException) -> str:
    """The kind of an error and the first line of what it says."""
    first = str(error).strip().partition("\n")[0][:300]
    return f"{type(error).__name__}: {first}" if first else type(error).__name__
