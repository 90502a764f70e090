"""Rows of results of single rows in blocks of proposals, and their table."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.rows import RESULTS, Row, number, read

FILE = "speculation.jsonl"
_HEAD = (
    "| model | proposer | temperature | values/call | right, by block | ms of a row "
    "| single steps / blocks | parity, nats |",
    "|---|---|---|---|---|---|---|---|",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class SpeculationRow(Row):
    """Rows drawn with one proposer. Rounds are the milliseconds of a row.

    Attributes:
        proposer: the proposer, and the corpus or the prompts in words.
        temperature: temperature of the draws.
        threads: threads of the runtime.
        load_average: average number of running processes in the minute before the run.
        per_call: values that a call of the step graph yielded, on average.
        acceptance: size of a block, and the share of its proposals that were right.
        same: number of rows with the values of single steps; the others have a near tie.
        target: targets of the values in a call and of the ratio, in words.
        met: whether all of them are met; None without one.
    """

    proposer: str
    temperature: float
    threads: int
    load_average: float
    per_call: float
    acceptance: tuple[tuple[float, float], ...]
    same: int
    target: str | None = None
    met: bool | None = None

    @property
    def title(self) -> str:
        """What was measured, in a few words."""
        return f"{self.case}, {self.proposer}, temperature {self.temperature:g}"


def line(row: SpeculationRow) -> str:
    """Return a row as a line of the table."""
    met = {True: "met", False: "**missed**", None: ""}[row.met]
    target = "" if row.target is None else f" ({row.target}: {met})"
    shares = ", ".join(f"{size:.0f}: {share:.0%}" for size, share in row.acceptance)
    cells = (
        row.case,
        row.proposer,
        f"{row.temperature:g}",
        number(row.per_call),
        shares,
        number(row.p50),
        f"{number(row.ratio)}{target}",
        row.parity.words,
    )
    return f"| {' | '.join(cells)} |"


def table(rows: Sequence[SpeculationRow]) -> list[str]:
    """Return the table of the last row of each model, proposer, temperature and machine."""
    last = {(row.case, row.proposer, row.temperature, row.machine.name): row for row in rows}
    parts: dict[str, list[SpeculationRow]] = {}
    for row in last.values():
        parts.setdefault(f"{row.machine.name}, {row.threads} threads", []).append(row)
    lines = []
    for where, shown in parts.items():
        lines += [
            "## Speculation, a single row",
            "",
            f"{where}.",
            "",
            *_HEAD,
            *map(line, shown),
            "",
        ]
    return lines


def read_rows(results: Path = RESULTS) -> list[SpeculationRow]:
    """Return the rows of all runs; an empty list if there were none."""
    return read(SpeculationRow, results / FILE)
