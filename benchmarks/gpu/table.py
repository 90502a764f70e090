"""A table of rows, and whether each reaches what it is to reach."""

from collections.abc import Sequence

from benchmarks.gpu.rows import Row, Target

_HEADS = ("part", "case", "dtype", "ours", "rate", "beside", "ratio", "share", "target", "met")
_RATES = {"B/s": (1e9, "GB/s"), "op/s": (1e12, "TFLOP/s")}


def table(rows: Sequence[Row]) -> list[str]:
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


def _cells(row: Row) -> tuple[str, ...]:
    beside = "" if row.baseline is None else f"{row.baseline} {number(row.baseline_p50)}"
    return (
        row.part,
        row.case,
        row.dtype,
        f"{number(row.p50)} {row.unit}",
        rate(row),
        beside,
        number(row.ratio),
        "" if row.share is None else f"{row.share:.0%} of {row.ceiling}",
    )


def rate(row: Row) -> str:
    """In the units that people use."""
    if row.rate is None or row.rate_unit is None:
        return ""
    scale, unit = _RATES[row.rate_unit]
    return f"{number(row.rate / scale)} {unit}"


def _target(row: Row, target: Target | None) -> tuple[str, str]:
    words = "" if target is None else target.words
    if row.rehearsal:
        return words, "rehearsal"
    return words, "" if target is None else "yes" if target.met else "NO"


def number(value: float | None) -> str:
    """Three digits, without an exponent.

    >>> number(0.01234), number(1234.5), number(None)
    ('0.0123', '1234', '')
    """
    if value is None:
        return ""
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:#.3g}".rstrip(".")
