"""Rows of the GPU's results: what was measured, beside what, how far from the limit, how exact."""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Self

from ancestral.errors import ParityError
from benchmarks.gpu.found import Found


@dataclass(frozen=True, slots=True)
class Parity:
    """How far the timed code was from the reference, in the run that was timed.

    Attributes:
        reference: what it was compared with.
        error: the largest difference.
        limit: what it may be at most.
        unit: of both: nats an event, or "relative" to the largest exact value of a row.
        unexplained: drawn values that differ from the reference and are no near ties.
        verified: whether `Engine.verify` passed; None where there is no bundle to verify.
    """

    reference: str
    error: float
    limit: float
    unit: str
    unexplained: int = 0
    verified: bool | None = None

    @property
    def failures(self) -> tuple[str, ...]:
        """Each check that failed, in words; NaN fails."""
        found = []
        if not self.error <= self.limit:
            found.append(f"{self.error:.3g} {self.unit} is over {self.limit:.3g}")
        if self.unexplained:
            found.append(f"{self.unexplained} unexplained draws")
        if self.verified is False:
            found.append("Engine.verify failed")
        return tuple(found)


@dataclass(frozen=True, slots=True)
class Target:
    """What a row is to reach.

    Attributes:
        words: of the bound.
        met: whether it is.
    """

    words: str
    met: bool


@dataclass(frozen=True, slots=True)
class Row:
    """One quantity of one case, beside one baseline.

    Attributes:
        part: of the measurement; names the file.
        case: sizes, in words.
        dtype: that it was computed in.
        unit: of p20, p50, p80 and baseline_p50.
        rounds: how many; ours and the baseline took turns.
        p20: 20th percentile of ours.
        p50: median of ours.
        p80: 80th percentile of ours.
        baseline: what it is compared with; None where it stands alone.
        baseline_p50: its median.
        ratio: median over the rounds of baseline / ours.
        rate: bytes or operations a second of ours; None where they were not counted.
        rate_unit: B/s or op/s.
        ceiling: what bounds it: "copy", or the dtype of a matrix product.
        share: the least time by that ceiling over the median.
        targets: what is to be reached.
        details: further numbers by name, with their unit in it.
        parity: of the same run.
        machine: where.
        commit: of the checkout; "unknown" without git.
        date: UTC.
        rehearsal: whether kernels were interpreted: then no number of the row is a result.
    """

    part: str
    case: str
    dtype: str
    unit: str
    rounds: int
    p20: float
    p50: float
    p80: float
    baseline: str | None
    baseline_p50: float | None
    ratio: float | None
    rate: float | None
    rate_unit: str | None
    ceiling: str | None
    share: float | None
    parity: Parity
    machine: Found
    commit: str
    date: str
    rehearsal: bool
    targets: tuple[Target, ...] = ()
    details: Mapping[str, float] = field(default_factory=dict)

    def to_json(self) -> str:
        """One line of JSON."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, line: str) -> Self:
        """A row from its line.

        Raises:
            ValueError: the line is no row.
        """
        values: Any = json.loads(line)
        names = {each.name for each in fields(cls)}
        if not isinstance(values, dict) or set(values) != names:
            raise ValueError(f"row: expected the fields {sorted(names)}, got {line[:200]}")
        values["parity"] = Parity(**values["parity"])
        values["machine"] = Found(**values["machine"])
        values["targets"] = tuple(Target(**each) for each in values["targets"])
        return cls(**values)


def append(row: Row, folder: Path) -> Path:
    """Append a row to its part's file.

    Raises:
        ParityError: the run was not exact; no speed is reported of such a run.
        ValueError: a number is not finite.
    """
    if row.parity.failures:
        raise ParityError(
            f"{row.part}, {row.case}, {row.dtype}: no row is written: "
            + "; ".join(row.parity.failures)
        )
    numbers = (row.p20, row.p50, row.p80, row.baseline_p50, row.ratio, *row.details.values())
    if not all(math.isfinite(each) for each in numbers if each is not None):
        raise ValueError(f"row: expected finite numbers, got {row}")
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"gpu-{row.part}.jsonl"
    with file.open("a") as lines:
        lines.write(row.to_json() + "\n")
    return file


def read(file: Path) -> list[Row]:
    """All rows of a file, in the order in which they were measured."""
    lines = file.read_text().splitlines() if file.exists() else []
    return [Row.from_json(line) for line in lines if line.strip()]
