"""Rows of results: one measured quantity with its rounds, its machine and its parity."""

import json
import math
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, asdict, dataclass, fields, is_dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

import numpy as np

from ancestral.errors import ParityError
from benchmarks.machine import Machine
from benchmarks.parity import Parity

RESULTS = Path(__file__).resolve().parent / "results"
Rounds = tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One measured quantity, with the fields that every row has.

    Attributes:
        case: name of the case, or its sizes in words.
        unit: unit of rounds, p20, p50 and p80.
        rounds: all rounds, in the order in which they ran.
        p20: 20th percentile of the rounds.
        p50: median of the rounds.
        p80: 80th percentile of the rounds.
        baseline: name of the baseline; None without one.
        baseline_rounds: all rounds of the baseline; round i ran next to rounds[i].
        ratio: number that the target limits; for speeds, the median over rounds of
            baseline / ours.
        parity: parity of the same run.
        machine: machine of the run.
        commit: commit of the repository, followed by "+" if the checkout differed from it.
        date: UTC time of the run.
    """

    case: str
    unit: str
    rounds: Rounds
    p20: float
    p50: float
    p80: float
    baseline: str | None
    baseline_rounds: Rounds
    ratio: float | None
    parity: Parity
    machine: Machine
    commit: str
    date: str

    @property
    def title(self) -> str:
        """What was measured, in a few words."""
        return self.case

    @property
    def run(self) -> tuple[str, str]:
        """The commit and the day, as the tables show them; a table has rows of one run only."""
        return f"commit {self.commit}", self.date[:10]

    @property
    def baseline_text(self) -> str:
        """The baseline and its median; "" without a baseline."""
        if self.baseline is None:
            return ""
        return f"{self.baseline} {number(float(np.median(self.baseline_rounds)))}"

    @property
    def numbers(self) -> tuple[float, ...]:
        """All numbers that have to be finite."""
        return (*self.rounds, *self.baseline_rounds)


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseRow(Row):
    """One quantity of a case at one batch size, on a CPU.

    Attributes:
        quantity: what was measured; prefill, decode, build and load have separate rows.
        batch: batch size of the loop.
        threads: threads of the runtime.
        warm_ups: number of uncounted runs before the rounds.
        target: target of the ratio, in words; None without a target.
        met: whether the target is met.
        peak_memory_mb: peak resident memory minus that after imports, in 10^6 bytes; None if the
            row's process did not measure it.
        load_average: average number of running processes in the minute before the run; times from
            a busy machine are too long.
        note: anything else that a reader needs to know.
    """

    quantity: str
    batch: int
    threads: int
    load_average: float
    warm_ups: int = 1
    target: str | None = None
    met: bool | None = None
    peak_memory_mb: float | None = None
    note: str = ""

    @property
    def title(self) -> str:
        """What was measured, in a few words."""
        return f"{self.case}, {self.quantity}, batch {self.batch}"


@dataclass(frozen=True, slots=True)
class Bound:
    """A target for a number.

    Attributes:
        number: the number, in words.
        sign: required relation to `value`.
        value: value of the target.
        unit: unit of the value, in words.
    """

    number: str
    sign: Literal["<", "<=", ">", ">="]
    value: float
    unit: str = ""

    @property
    def words(self) -> str:
        """The target as rows and tables show it: "plain / ours >= 0.95"."""
        return f"{self.number} {self.sign} {self.value:g} {self.unit}".strip()

    def met(self, number: float) -> bool:
        """Return whether a number meets the target; NaN does not."""
        return _SIGNS[self.sign](number, self.value)


_SIGNS: Mapping[str, Callable[[float, float], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


def timed(rounds: Rounds, baseline: tuple[str, Rounds] | None = None) -> dict[str, Any]:
    """Return the fields of a row that follow from its rounds and from those of a baseline."""
    name, others = baseline or (None, ())
    return {
        "rounds": rounds,
        **{f"p{q}": float(np.percentile(rounds, q)) for q in (20, 50, 80)},
        "baseline": name,
        "baseline_rounds": others,
        "ratio": paired_ratio(rounds, others) if others else None,
    }


def paired_ratio(rounds: Rounds, baseline: Rounds) -> float:
    """Return the median over rounds of baseline / ours; a drift of the machine affects both."""
    return float(np.median([b / a for a, b in zip(rounds, baseline, strict=True)]))


def now() -> str:
    """Return the time in UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def append(row: Row, file: Path) -> None:
    """Append a row to a file.

    Raises:
        ParityError: the run did not keep the probabilities, so that its speed is not reported.
        ValueError: a number is not finite.
    """
    if row.parity.failures:
        raise ParityError(
            f"{row.title}: no row is written, because the probabilities of this run are wrong "
            f"({'; '.join(row.parity.failures)}); run `ancestral verify` on the bundle"
        )
    if not all(map(math.isfinite, row.numbers)):
        raise ValueError(f"row: expected finite numbers, got {row}")
    append_record(row, file)


def number(value: float | None) -> str:
    """Format a number with three digits, without an exponent.

    >>> number(0.01234), number(1234.5), number(None)
    ('0.0123', '1234', '')
    """
    if value is None:
        return ""
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:#.3g}".rstrip(".")


T = TypeVar("T")
K = TypeVar("K")


def grouped(rows: Sequence[T], key: Callable[[T], K]) -> dict[K, list[T]]:
    """Return the rows of each key, in the order in which the keys are found."""
    groups: dict[K, list[T]] = {}
    for row in rows:
        groups.setdefault(key(row), []).append(row)
    return groups


def parsed(kind: type[T], values: object) -> T:
    """Return a record from its JSON values; its fields may be records and tuples too.

    Raises:
        ValueError: the values have other fields.
    """
    known = {each.name: each for each in fields(kind)}  # type: ignore[arg-type]
    needed = {
        name
        for name, each in known.items()
        if each.default is MISSING and each.default_factory is MISSING
    }
    if not isinstance(values, dict) or not needed <= set(values) <= set(known):
        raise ValueError(f"row: expected the fields {sorted(known)}, got {str(values)[:200]}")
    hints = get_type_hints(kind)
    return kind(**{name: _made(hints[name], value) for name, value in values.items()})


def _made(hint: Any, value: Any) -> Any:
    if is_dataclass(hint) and isinstance(hint, type):
        return parsed(hint, value)
    if get_origin(hint) is tuple:
        return tuple(_made(get_args(hint)[0], each) for each in value)
    return value


def append_record(record: Any, file: Path) -> str:
    """Append a record, any dataclass, as a line of JSON, and return the line."""
    line = json.dumps(asdict(record))
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("a") as lines:
        lines.write(line + "\n")
    return line


def read(kind: type[T], file: Path) -> list[T]:
    """Return all records of a file, in the order of writing; an empty list without a file."""
    lines = file.read_text().splitlines() if file.exists() else []
    return [parsed(kind, json.loads(line)) for line in lines if line.strip()]
