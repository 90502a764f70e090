"""Results of a part: rows, skips and failures, as lines of JSON and as text."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field

from benchmarks.rows import Row, number, parsed


@dataclass(frozen=True, slots=True)
class Target:
    """A target of a row, in words, and whether the row meets it."""

    words: str
    met: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuRow(Row):
    """One quantity compared with one baseline, on a GPU.

    Attributes:
        part: part of the measurement, which also names the file.
        dtype: dtype of the computation.
        rate: our bytes/s or operations/s; None if they were not counted.
        rate_unit: B/s or op/s.
        ceiling: ceiling that bounds the rate: "copy", or the dtype of a matrix product.
        share: least time by that ceiling divided by the median.
        rehearsal: whether kernels were interpreted, so that no number of the row is a result.
        targets: targets of the row.
        details: further numbers, by a name that contains their unit.
    """

    part: str
    dtype: str
    rate: float | None
    rate_unit: str | None
    ceiling: str | None
    share: float | None
    rehearsal: bool
    targets: tuple[Target, ...] = ()
    details: Mapping[str, float] = field(default_factory=dict)

    @property
    def title(self) -> str:
        """What was measured, in a few words."""
        return f"{self.part}, {self.case}, {self.dtype}"

    @property
    def numbers(self) -> tuple[float, ...]:
        """All numbers that have to be finite."""
        return (*self.rounds, *self.baseline_rounds, *self.details.values())

    def __str__(self) -> str:
        ratio = "" if self.ratio is None else f", {self.ratio:.2f} x {self.baseline}"
        share = "" if self.share is None else f", {self.share:.0%} of {self.ceiling}"
        built = self.details.get("baseline_build_s", self.details.get("build_s", 0.0))
        mark = "  (rehearsal)" if self.rehearsal else ""
        return (
            f"{self.title}: {self.p50:.4g} {self.unit} [{self.p20:.4g}, {self.p80:.4g}]"
            f"{ratio}{share}, error {self.parity.words}, built in {built:.1f} s{mark}"
        )


@dataclass(frozen=True, slots=True)
class _Notice:
    what: str
    why: str


class Skipped(_Notice):
    """Something that was not measured, and why; the run continues."""

    def __str__(self) -> str:
        return f"skipped: {self.what}, because {self.why}"


class Failed(_Notice):
    """Something that failed: the run ends with exit status 1."""

    def __str__(self) -> str:
        return f"FAILED: {self.what}: {self.why}"


Result = GpuRow | Skipped | Failed
_KINDS = {kind.__name__: kind for kind in (GpuRow, Skipped, Failed)}


def record(result: Result) -> str:
    """Return a result as a line of JSON."""
    return json.dumps({type(result).__name__: asdict(result)})


def recorded(line: str) -> Result:
    """Return the result in a line of JSON."""
    ((kind, values),) = json.loads(line).items()
    found: Result = parsed(_KINDS[kind], values)
    return found


_HEADS = ("part", "case", "dtype", "ours", "rate", "baseline", "ratio", "share", "target", "met")
_RATES = {"B/s": (1e9, "GB/s"), "op/s": (1e12, "TFLOP/s")}


def table(rows: Sequence[GpuRow]) -> list[str]:
    """Return the lines of a table, with a line for each target of a row."""
    lines = [_HEADS]
    for row in rows:
        for target in row.targets or (None,):
            lines.append((*_cells(row), *_target(row, target)))
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    ]


def _cells(row: GpuRow) -> tuple[str, ...]:
    scale, unit = _RATES.get(row.rate_unit or "", (1.0, ""))
    return (
        row.part,
        row.case,
        row.dtype,
        f"{number(row.p50)} {row.unit}",
        "" if row.rate is None else f"{number(row.rate / scale)} {unit}",
        row.baseline_text,
        number(row.ratio),
        "" if row.share is None else f"{row.share:.0%} of {row.ceiling}",
    )


def _target(row: GpuRow, target: Target | None) -> tuple[str, str]:
    words = "" if target is None else target.words
    if row.rehearsal:
        return words, "rehearsal"
    return words, "" if target is None else "yes" if target.met else "NO"
