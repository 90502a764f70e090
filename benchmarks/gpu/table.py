"""A table of rows, and whether each reaches what it is to reach."""

from collections.abc import Sequence

from benchmarks.gpu.rows import GpuRow, Target
from benchmarks.rows import number

_HEADS = ("part", "case", "dtype", "ours", "rate", "beside", "ratio", "share", "target", "met")
_RATES = {"B/s": (1e9, "GB/s"), "op/s": (1e12, "TFLOP/s")}


def table(rows: Sequence[GpuRow]) -> list[str]:
    """Its lines; a row for each target."""
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
        row.beside,
        number(row.ratio),
        "" if row.share is None else f"{row.share:.0%} of {row.ceiling}",
    )


def _target(row: GpuRow, target: Target | None) -> tuple[str, str]:
    words = "" if target is None else target.words
    if row.rehearsal:
        return words, "rehearsal"
    return words, "" if target is None else "yes" if target.met else "NO"
