"""Rows of results of arriving requests, and their table."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.rows import RESULTS, Row, grouped, number, read

FILE = "arrivals.jsonl"
_HEAD = (
    "| load | requests/s | values/s | first value, ms: p50, p95 | between values, ms: p50, p95 "
    "| between deltas, ms: p50, p95 | idle slots | allowed / taken | batches / stream "
    "| parity, nats |",
    "|---|---|---|---|---|---|---|---|---|---|",
)

Percentiles = tuple[float, float]
"""The 50th and the 95th percentile, in ms."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ArrivalsRow(Row):
    """A workload at one rate of arrivals. Rounds are the seconds that a run took.

    The baseline and the ratio are for the run in which all requests come at once: the same requests
    in batches that run until their last row ends, and how many times longer these take.

    Attributes:
        load: rate over the capacity; None if all requests come at once.
        rate: requests per second; None if all come at once.
        slots: number of slots.
        requests: number of requests.
        seed: seed of the workload.
        threads: threads of the runtime.
        load_average: average number of running processes in the minute before the run.
        values_per_second: values of all requests over the time of the run, the median over rounds.
        first_value: time from arrival to the first value, waiting for a slot included.
        between_values: time per value after the first delta.
        between_deltas: time between two deltas of a request.
        idle_share: share of the slots' time without a request, until the last one has a slot.
        allowed: time that the measured costs of steps and prompts allow over the time taken, in
            each round; empty unless all requests come at once.
        target: target of its median, in words; None without one.
        met: whether the target is met.
    """

    load: float | None
    rate: float | None
    slots: int
    requests: int
    seed: int
    threads: int
    load_average: float
    values_per_second: float
    first_value: Percentiles
    between_values: Percentiles
    between_deltas: Percentiles
    idle_share: float
    allowed: tuple[float, ...] = ()
    target: str | None = None
    met: bool | None = None

    @property
    def title(self) -> str:
        """What was measured, in a few words."""
        return f"{self.case}, {self.slots} slots, {self.load_text}"

    @property
    def load_text(self) -> str:
        """The load in words."""
        return "all at once" if self.load is None else f"{self.load:.0%}"

    @property
    def numbers(self) -> tuple[float, ...]:
        """All numbers that have to be finite."""
        latencies = (*self.first_value, *self.between_values, *self.between_deltas)
        return (
            *self.rounds,
            *self.baseline_rounds,
            *latencies,
            self.values_per_second,
            self.idle_share,
            *self.allowed,
        )


def line(row: ArrivalsRow) -> str:
    """Return a row as a line of the table."""
    allowed = number(float(np.median(row.allowed))) if row.allowed else ""
    if row.target is not None:
        allowed += f" ({row.target}: {'met' if row.met else '**missed**'})"
    cells = (
        row.load_text,
        number(row.rate),
        number(row.values_per_second),
        *(
            ", ".join(map(number, pair))
            for pair in (row.first_value, row.between_values, row.between_deltas)
        ),
        f"{row.idle_share:.1%}",
        allowed,
        number(row.ratio),
        row.parity.words,
    )
    return f"| {' | '.join(cells)} |"


def table(
    rows: Sequence[ArrivalsRow],
    about: Mapping[str, str],
    run: Callable[[ArrivalsRow], str],
) -> list[str]:
    """Return the tables, one for each case, machine, run, and number of threads and of slots.

    Args:
        rows: rows, in the order of writing; the last one of each load is shown.
        about: description of each case.
        run: function that returns the versions, the commit and the day of a row as text.
    """

    def setting(row: ArrivalsRow) -> tuple[str, str, int, int]:
        return row.case, row.machine.name, row.threads, row.slots

    last = {(*setting(row), row.load_text): row for row in rows}
    tables = grouped(list(last.values()), lambda row: (*setting(row), run(row)))
    lines = []
    for (case, machine, threads, slots, words), shown in tables.items():
        lines += [
            f"## Arrivals, {case}: {about.get(case, '')}",
            "",
            f"{slots} slots; {machine}, {threads} threads; {words}.",
            "",
            *_HEAD,
            *map(line, shown),
            "",
        ]
    return lines


def read_rows(results: Path = RESULTS) -> list[ArrivalsRow]:
    """Return the rows of all runs; an empty list if there were none."""
    return read(ArrivalsRow, results / FILE)
