"""A part of the measurement: what its cells are given, and what they give."""

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
"""Bandwidth of a copy on the device, bytes read plus bytes written, in bytes a second."""
Ceilings = Mapping[str, float]
"""COPY, and for each dtype by name the operations a second of a large matrix product."""


@dataclass(frozen=True, slots=True)
class Work:
    """What has to be done, at the least.

    Attributes:
        bytes: of device memory, each input read once and each output written once.
        operations: additions and multiplications of floating-point numbers.
        dtype: that they are done in.
    """

    bytes: float
    operations: float
    dtype: torch.dtype

    def floor_ms(self, ceilings: Ceilings) -> tuple[str, float] | None:
        """What bounds the time and the milliseconds that it leaves; None where it is unknown.

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
        """Bytes or operations, whichever that ceiling is of; where it is unknown, what there is."""
        bytes_count = self.bytes > 0 if ceiling is None else ceiling == COPY
        return (self.bytes, "B/s") if bytes_count else (self.operations, "op/s")


def name_of(dtype: torch.dtype) -> str:
    """float32, bfloat16, ..."""
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
"""Each a module of this package with a function `cells`; its share of the time, relative."""
CHECKS = "checks"
NEEDED: Mapping[str, str] = {
    "onnx": "Engine.verify of the models that are stepped, and plans",
    "onnxscript": "Engine.verify of the models that are stepped, and plans",
    "triton": "every part but the ceilings and tensorrt",
    "pytest": "the checks",
    "hypothesis": "the checks that draw their sizes at random",
    "xdist": "checks in several processes",
    "beartype": "types and shapes within the checks",
}
"""Packages beside PyTorch, by the name that is imported, and what there is not without them."""
OURS = "ours"


def missing() -> Iterator[tuple[str, str]]:
    """What there is not for want of a package, and why."""
    for name, what in NEEDED.items():
        if not has(name):
            yield what, f"{name} is not installed"


def has(*packages: str) -> bool:
    """Whether all of them can be imported."""
    return all(find_spec(package) is not None for package in packages)


def able(part: str) -> bool:
    """Whether there are the packages that a part needs."""
    if part == CHECKS:
        return has("pytest")
    return part in {"ceilings", "tensorrt"} or has("triton")


@dataclass(frozen=True, slots=True)
class Bench:
    """What the cells of a part are given.

    Attributes:
        part: of the rows.
        device: where everything runs.
        ceilings: as measured before; empty where they were not.
        until: when the part has to be over, by time.monotonic.
        bundles: folder of exported models.
        machine: of the rows.
        commit: of the rows.
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
        """Whether kernels are interpreted on tiny sizes, and nothing is a result."""
        return self.device.type == "cpu"

    @property
    def left(self) -> float:
        """Seconds of the part."""
        return self.until - time.monotonic()

    def clock(self, measure_ms: float = 40.0, least: int = 5) -> Clock:
        """Of the device."""
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
        """A row for each baseline; a single row where there is no baseline.

        Args:
            case: the sizes in words.
            dtype: that was computed in.
            rounds: of OURS and of each baseline, by name.
            parity: of the same run.
            unit: of the rounds.
            work: what was done in that time, at the least.
            least_ratio: of baseline / ours.
            least_share: of the ceiling.
            targets: that are met or not, whatever the rounds are.
            details: further numbers of ours, and of each baseline.
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
        """The fields of a row that tell how near to the limit a time is."""
        if work is None:
            return dict.fromkeys(("rate", "rate_unit", "ceiling", "share"))
        ceiling, least = work.floor_ms(self.ceilings) or (None, None)
        count, unit = work.counted(ceiling)
        share = None if least is None else least / p50
        return {"rate": count / p50 * 1e3, "rate_unit": unit, "ceiling": ceiling, "share": share}


@dataclass(frozen=True, slots=True)
class Cell:
    """A few rows that are measured together.

    Attributes:
        name: in words.
        measure: the rows, and what was skipped of them.
    """

    name: str
    measure: Callable[[Bench], Iterable[GpuRow | Skipped]]


class Sizes(Protocol):
    """Sizes of an operator's cell in words, its dtype, and what has to be done at the least."""

    name: str
    dtype: torch.dtype
    work: Work


def cells_of(
    grid: Sequence[Sizes], measure: Callable[[Any, Bench], Iterable[GpuRow | Skipped]]
) -> list[Cell]:
    """A cell for each of the sizes."""
    return [Cell(f"{each.name}, {name_of(each.dtype)}", partial(measure, each)) for each in grid]


def sentence(error: BaseException) -> str:
    """The kind of an error and the first line of what it says."""
    first = str(error).strip().partition("\n")[0][:300]
    return f"{type(error).__name__}: {first}" if first else type(error).__name__
