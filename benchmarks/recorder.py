"""Recording of one run: what its rows share, and how they are written and printed."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from benchmarks.cases import Case
from benchmarks.machine import Machine, commit, load_average, this_machine
from benchmarks.parity import Parity
from benchmarks.rows import RESULTS, Bound, CaseRow, Rounds, append, now, timed


@dataclass(frozen=True, slots=True)
class Recorder:
    """What all rows of one run share.

    Attributes:
        machine: machine of the run.
        commit: commit of the checkout.
        date: UTC time at which the run began.
        load_average: load average of the machine at that time.
        threads: threads of the runtimes.
        rounds: number of rounds of each quantity.
        results: folder of the result files.
    """

    machine: Machine
    commit: str
    date: str
    load_average: float
    threads: int
    rounds: int
    results: Path

    @classmethod
    def begin(cls, threads: int, rounds: int = 1, results: Path = RESULTS) -> Self:
        """Return the recorder of a run that begins now on this machine."""
        machine = this_machine()
        return cls(machine, commit(), now(), load_average(machine), threads, rounds, results)

    def add(
        self,
        case: Case,
        quantity: tuple[str, str],
        batch: int,
        rounds: Rounds,
        parity: Parity,
        baseline: tuple[str, Rounds] | None = None,
        bound: Bound | None = None,
        **more: Any,
    ) -> CaseRow:
        """Write a row, and print it.

        Args:
            case: case that was measured.
            quantity: name and unit of the quantity.
            batch: batch size of the loop.
            rounds: measurements, in the unit.
            parity: parity of the same run.
            baseline: name of the baseline, and its rounds.
            bound: target for the ratio, or for the median if there is no ratio.
            more: further fields; without `ratio`, it is computed from the paired rounds.

        Raises:
            ParityError: the probabilities are wrong; nothing is written.
        """
        fields = timed(rounds, baseline) | more
        reached = fields["p50"] if fields["ratio"] is None else fields["ratio"]
        row = CaseRow(
            case=case.name,
            quantity=quantity[0],
            unit=quantity[1],
            batch=batch,
            threads=self.threads,
            parity=parity,
            machine=self.machine,
            commit=self.commit,
            date=self.date,
            load_average=self.load_average,
            target=None if bound is None else bound.words,
            met=None if bound is None else bound.met(reached),
            **fields,
        )
        append(row, self.results / f"{case.name}.jsonl")
        print(line(row), flush=True)
        return row


def line(row: CaseRow) -> str:
    """Return a row as a readable line."""
    met = {True: "met", False: "MISSED", None: ""}[row.met]
    baseline = f"  {row.baseline_text}" if row.baseline else ""
    ratio = "" if row.ratio is None else f"  ratio {row.ratio:.3f}"
    target = "" if row.target is None else f" ({row.target}: {met})"
    spread = f"{row.p50:.4g} {row.unit} [{row.p20:.4g}, {row.p80:.4g}]"
    return f"{row.title}: {spread}{baseline}{ratio}{target}"
