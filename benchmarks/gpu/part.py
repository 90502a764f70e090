"""A part of the measurement: the settings and the results of its cells."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

import torch

from benchmarks.gpu.clock import Clock
from benchmarks.gpu.rows import GpuRow, Skipped, Target
from benchmarks.machine import Machine, commit, machine_of_torch
from benchmarks.parity import Parity
from benchmarks.rows import Rounds, now, timed

COPY = "copy"
"""Bandwidth of a copy on the device, bytes read plus bytes written, in B/s."""
Ceilings = Mapping[str, float]
"""The bandwidth under COPY, and by dtype name the operations/s of a large matrix product."""


@dataclass(frozen=True, slots=True)
class Work:
    """The least work of a computation.

    Attributes:
        bytes: bytes of device memory, with each input read once and each output written once.
        operations: number of floating-point additions and multiplications.
        dtype: dtype of the operations.
    """

    bytes: float
    operations: float
    dtype: torch.dtype

    def floor_ms(self, ceilings: Ceilings) -> tuple[str, float] | None:
        """Return the ceiling that bounds the time, and the least milliseconds; None if unknown.

        >>> Work(8e6, 1e9, torch.float32).floor_ms({"copy": 4e12, "float32": 5e13})
        ('float32', 0.02)
        """
        arithmetic = name_of(self.dtype)
        if COPY not in ceilings or arithmetic not in ceilings:
            return None
        moved = self.bytes / ceilings[COPY] * 1e3
        computed = self.operations / ceilings[arithmetic] * 1e3
        return (COPY, moved) if moved >= computed else (arithmetic, computed)

    def counted(self, ceiling: str | None) -> tuple[float, str]:
        """Return bytes or operations, as the ceiling bounds; without a ceiling, bytes unless 0."""
        bytes_count = self.bytes > 0 if ceiling is None else ceiling == COPY
        return (self.bytes, "B/s") if bytes_count else (self.operations, "op/s")


def name_of(dtype: torch.dtype) -> str:
    """Return the name of a dtype: float32, bfloat16, ..."""
    return str(dtype).removeprefix("torch.")


PARTS: Mapping[str, int] = {
    "ceilings": 4,
    "cached_attention": 14,
    "masked_attention": 9,
    "linear": 8,
    "sample_token": 8,
    "steps": 30,
    "tensorrt": 12,
}
"""Relative share of the time of each part, a module of this package with a function `cells`."""
CHECKS = "checks"
NEEDED: Mapping[str, str] = {
    "onnx": "Engine.verify of the timed models, and TensorRT plans",
    "onnxscript": "Engine.verify of the timed models, and TensorRT plans",
    "triton": "every part except ceilings and tensorrt",
    "pytest": "the checks",
    "hypothesis": "the checks that draw random sizes",
    "xdist": "parallel checks",
    "beartype": "checks of types and shapes",
}
"""Packages besides PyTorch, by import name, and what is skipped without them."""
OURS = "ours"


def missing() -> Iterator[tuple[str, str]]:
    """Yield what is skipped because a package is missing, and why."""
    for name, what in NEEDED.items():
        if not has(name):
            yield what, f"{name} is not installed"


def has(*packages: str) -> bool:
    """Return whether all packages are installed."""
    return all(find_spec(package) is not None for package in packages)


def able(part: str) -> bool:
    """Return whether the packages that a part needs are installed."""
    if part == CHECKS:
        return has("pytest")
    return part in {"ceilings", "tensorrt"} or has("triton")


@dataclass(frozen=True, slots=True)
class Bench:
    """The settings that the cells of a part share.

    Attributes:
        part: name of the part.
        device: device of all computations.
        ceilings: ceilings measured before; empty if they were not.
        until: end of the part's time, by time.monotonic.
        bundles: folder of exported models.
        machine: machine in the rows.
        commit: commit in the rows.
    """

    part: str
    device: torch.device
    ceilings: Ceilings
    until: float
    bundles: Path
    machine: Machine = field(default_factory=machine_of_torch)
    commit: str = field(default_factory=commit)

    @property
    def rehearsal(self) -> bool:
        """Whether kernels are interpreted on tiny sizes, so that the numbers are not results."""
        return self.device.type == "cpu"

    @property
    def left(self) -> float:
        """Seconds left for the part."""
        return self.until - time.monotonic()

    def clock(self, measure_ms: float = 40.0, least: int = 5) -> Clock:
        """Return a clock for the device."""
        return Clock(self.device, measure_ms, least)

    def rows(  # noqa: PLR0913 - a row's own fields
        self,
        case: str,
        dtype: torch.dtype,
        rounds: Mapping[str, Rounds],
        parity: Parity,
        *,
        unit: str = "ms",
        work: Work | None = None,
        least_ratio: float | None = None,
        least_share: float | None = None,
        targets: Sequence[Target] = (),
        details: Mapping[str, Mapping[str, float]] | None = None,
    ) -> Iterator[GpuRow]:
        """Yield a row for each baseline, or a single row if there is no baseline.

        Args:
            case: the sizes in words.
            dtype: dtype of the computation.
            rounds: rounds of OURS and of each baseline, by name.
            parity: parity of the same run.
            unit: unit of the rounds.
            work: least work done in that time.
            least_ratio: target for baseline / ours.
            least_share: target for the fraction of the ceiling.
            targets: further targets, which do not depend on the rounds.
            details: further numbers of OURS and of each baseline, by name.
        """
        ours, details = rounds[OURS], details or {}
        for name in [each for each in rounds if each != OURS] or [None]:
            fields = timed(ours, None if name is None else (name, rounds[name]))
            limits = self._limits(work, fields["p50"])
            least = (("baseline / ours", least_ratio, "ratio"), ("share", least_share, "share"))
            values = fields | limits
            found = (
                Target(f"{what} >= {bound:g}", values[name] >= bound)
                for what, bound, name in least
                if bound is not None and values[name] is not None
            )
            yield GpuRow(
                part=self.part,
                case=case,
                dtype=name_of(dtype),
                unit=unit,
                **values,
                parity=parity,
                machine=self.machine,
                commit=self.commit,
                date=now(),
                rehearsal=self.rehearsal,
                targets=(*found, *targets),
                details={**details.get(OURS, {}), **details.get(name or OURS, {})},
            )

    def _limits(self, work: Work | None, p50: float) -> dict[str, Any]:
        """Return the fields of a row that compare its time with the ceiling."""
        if work is None:
            return dict.fromkeys(("rate", "rate_unit", "ceiling", "share"))
        ceiling, least = work.floor_ms(self.ceilings) or (None, None)
        count, unit = work.counted(ceiling)
        share = None if least is None else least / p50
        return {"rate": count / p50 * 1e3, "rate_unit": unit, "ceiling": ceiling, "share": share}


@dataclass(frozen=True, slots=True)
class Cell:
    """Rows that are measured together.

    Attributes:
        name: the cell in words.
        measure: function that yields the rows, and what was skipped.
    """

    name: str
    measure: Callable[[Bench], Iterable[GpuRow | Skipped]]


class Sizes(Protocol):
    """Sizes of an operator's cell: their text, the dtype, and the least work."""

    name: str
    dtype: torch.dtype
    work: Work


def cells_of(
    grid: Sequence[Sizes], measure: Callable[[Any, Bench], Iterable[GpuRow | Skipped]]
) -> list[Cell]:
    """Return a cell for each entry of a grid."""
    return [Cell(f"{each.name}, {name_of(each.dtype)}", partial(measure, each)) for each in grid]


def sentence(error: BaseException) -> str:
    """Return the type of an error and the first line of its message."""
    first = str(error).strip().partition("\n")[0][:300]
    return f"{type(error).__name__}: {first}" if first else type(error).__name__
