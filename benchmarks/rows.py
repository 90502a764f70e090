"""Rows of results: one measured quantity with its rounds, its machine and its parity."""

import json
import math
import subprocess
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Self

import numpy as np

from ancestral.errors import ParityError
from benchmarks.machine import Machine

ROOT = Path(__file__).resolve().parent
RESULTS = ROOT / "results"


@dataclass(frozen=True, slots=True)
class Parity:
    """How far the measured run was from the reference, in nats an event.

    Attributes:
        verified: whether every check of `Engine.verify` passed.
        max_abs_nats: largest |delta log p| on the known answers.
        limit_nats: what any difference of log p may be at most.
        near_ties: drawn values that differ from the reference at the edge of their interval.
        unexplained: drawn values that differ elsewhere.
        sample_nats: largest |log p of what the loop drew - log p by the parallel graph|; None
            where the row timed no loop.
        baseline_nats: the same of what the baseline drew; None without a baseline.
    """

    verified: bool
    max_abs_nats: float
    limit_nats: float
    near_ties: int
    unexplained: int
    sample_nats: float | None = None
    baseline_nats: float | None = None

    @property
    def failures(self) -> tuple[str, ...]:
        """Each check that failed, in words; NaN fails."""
        checks = {
            "known answers": self.max_abs_nats,
            "log p of our samples": self.sample_nats,
            "log p of the baseline's samples": self.baseline_nats,
        }
        found = [] if self.verified else ["Engine.verify failed"]
        found += [f"{self.unexplained} unexplained draws"] if self.unexplained else []
        found += [
            f"{name}: {value:.3g} nats is over {self.limit_nats:.3g}"
            for name, value in checks.items()
            if value is not None and not value <= self.limit_nats
        ]
        return tuple(found)


@dataclass(frozen=True, slots=True)
class Row:
    """One quantity of one case at one batch size.

    Attributes:
        case: its name.
        quantity: what was measured; prefill, decode, build and load are rows of their own.
        unit: of rounds, p20, p50 and p80.
        batch: rows of the loop.
        threads: of the runtime.
        rounds: every round, in the order in which they ran.
        p20: 20th percentile of the rounds.
        p50: their median.
        p80: 80th percentile.
        warm_ups: runs before the rounds that are not counted.
        baseline: what the rounds are compared with; None where they stand alone.
        baseline_rounds: every round of it; round i ran beside rounds[i].
        ratio: what the target speaks of: the median over rounds of baseline / ours for speeds.
        target: the ratio's bound, in words; None where there is none.
        met: whether the target is met.
        peak_memory_mb: largest resident memory less that after imports, in 10^6 bytes; None where
            the row's process did not measure it.
        parity: of the same run.
        machine: where.
        commit: of the repository, "+" behind it where the checkout differed from it.
        date: of the run, UTC.
        load_average: running processes over the minute before the run; a busy machine is no place
            to measure.
        note: anything that a reader needs to know.
    """

    case: str
    quantity: str
    unit: str
    batch: int
    threads: int
    rounds: tuple[float, ...]
    p20: float
    p50: float
    p80: float
    warm_ups: int
    baseline: str | None
    baseline_rounds: tuple[float, ...]
    ratio: float | None
    target: str | None
    met: bool | None
    peak_memory_mb: float | None
    parity: Parity
    machine: Machine
    commit: str
    date: str
    load_average: float
    note: str = ""

    def to_json(self) -> str:
        """One line of JSON."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, line: str) -> Self:
        """A row from its line.

        Raises:
            ValueError: the line is no row.
        """
        values: dict[str, Any] = json.loads(line)
        names = {field.name for field in fields(cls)}
        if not isinstance(values, dict) or set(values) != names:
            raise ValueError(f"row: expected the fields {sorted(names)}, got {line[:200]}")
        machine = dict(values["machine"])
        machine["instructions"] = tuple(machine["instructions"])
        values["machine"] = Machine(**machine)
        values["parity"] = Parity(**values["parity"])
        for name in ("rounds", "baseline_rounds"):
            values[name] = tuple(values[name])
        return cls(**values)


def percentiles(rounds: tuple[float, ...]) -> dict[str, float]:
    """p20, p50 and p80 of the rounds."""
    return {f"p{q}": float(np.percentile(rounds, q)) for q in (20, 50, 80)}


def paired_ratio(rounds: tuple[float, ...], baseline: tuple[float, ...]) -> float:
    """Median over the rounds of baseline / ours: a drift of the machine is in both."""
    return float(np.median([b / a for a, b in zip(rounds, baseline, strict=True)]))


def append(row: Row, folder: Path = RESULTS) -> Path:
    """Append a row to its case's file.

    Raises:
        ParityError: the run did not keep the probabilities; no speed is reported of such a run.
    """
    if row.parity.failures:
        raise ParityError(
            f"{row.case}, {row.quantity}, batch {row.batch}: no row is written, for the "
            f"probabilities of this run are wrong: " + "; ".join(row.parity.failures)
        )
    if not all(map(math.isfinite, row.rounds)):
        raise ValueError(f"rounds: expected finite numbers, got {row.rounds}")
    file = folder / f"{row.case}.jsonl"
    folder.mkdir(parents=True, exist_ok=True)
    with file.open("a") as lines:
        lines.write(row.to_json() + "\n")
    return file


def read(file: Path) -> list[Row]:
    """All rows of a case's file, in the order in which they were measured."""
    lines = file.read_text().splitlines() if file.exists() else []
    return [Row.from_json(line) for line in lines if line.strip()]


def commit() -> str:
    """The commit of the checkout, "+" behind it where files differ; "unknown" without git."""
    head = _git("rev-parse", "--short=12", "HEAD")
    if not head:
        return "unknown"
    return head + ("+" if _git("status", "--porcelain", "--untracked-files=no") else "")


def _git(*words: str) -> str:
    try:
        done = subprocess.run(
            ["git", "-C", str(ROOT), *words], capture_output=True, text=True, check=False
        )
    except OSError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
