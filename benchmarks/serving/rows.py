"""Rows of results of the server, and their table."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from benchmarks.arrivals.rows import Percentiles
from benchmarks.rows import Row, grouped, number

FILE = "serving.jsonl"
_HEAD = (
    "| load | requests/s | answered | 429 | errors | values/s | first value, ms: p50, p95 "
    "| between values, ms: p50, p95 | server / stream | memory, MB | parity, nats |",
    "|---|---|---|---|---|---|---|---|---|---|---|",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ServingRow(Row):
    """A workload at one rate of arrivals. The round is the seconds that the run took.

    Attributes:
        load: rate over the capacity of the stream in process.
        rate: requests per second.
        slots: number of slots.
        queue: most requests that wait.
        requests: number of requests.
        seed: seed of the workload.
        load_average: average number of running processes in the minute before the run.
        answered: number of requests that got their whole answer.
        refused: number of requests that got 429.
        errors: number of the other requests.
        values_per_second: values drawn until the last request arrived, over that time.
        stream_values_per_second: the same of `Engine.stream` in process, while all slots are used.
        first_value: time from arrival to the first value, of requests that were answered.
        between_values: time per value after the first event.
        resident_mb: resident memory of the server before and after the run, in 10^6 bytes.
        target: targets, in words; None without one.
        met: whether they are met.
    """

    load: float
    rate: float
    slots: int
    queue: int
    requests: int
    seed: int
    load_average: float
    answered: int
    refused: int
    errors: int
    values_per_second: float
    stream_values_per_second: float
    first_value: Percentiles
    between_values: Percentiles
    resident_mb: tuple[float, float]
    target: str | None = None
    met: bool | None = None

    @property
    def title(self) -> str:
        """What was measured, in a few words."""
        return f"{self.case}, server, {self.slots} slots, {self.load:.0%}"

    @property
    def share(self) -> float:
        """Values per second, over those of the stream."""
        return self.values_per_second / self.stream_values_per_second

    @property
    def numbers(self) -> tuple[float, ...]:
        """All numbers that have to be finite."""
        rates = (self.rate, self.values_per_second, self.stream_values_per_second)
        return (*self.rounds, *rates, *self.first_value, *self.between_values, *self.resident_mb)


def line(row: ServingRow) -> str:
    """Return a row as a line of the table."""
    share = f"{row.share:.2f}"
    if row.target is not None:
        share += f" ({row.target}: {'met' if row.met else '**missed**'})"
    cells = (
        f"{row.load:.0%}",
        number(row.rate),
        str(row.answered),
        str(row.refused),
        str(row.errors),
        number(row.values_per_second),
        *(", ".join(map(number, pair)) for pair in (row.first_value, row.between_values)),
        share,
        ", ".join(f"{each:.0f}" for each in row.resident_mb),
        row.parity.words,
    )
    return f"| {' | '.join(cells)} |"


def table(
    rows: Sequence[ServingRow],
    about: Mapping[str, str],
    run: Callable[[ServingRow], str],
) -> list[str]:
    """Return the tables, one for each case, machine, run, and number of slots.

    Args:
        rows: rows, in the order of writing; the last one of each load is shown.
        about: description of each case.
        run: function that returns the versions, the commit and the day of a row as text.
    """

    def setting(row: ServingRow) -> tuple[str, str, int, int]:
        return row.case, row.machine.name, row.slots, row.queue

    last = {(*setting(row), f"{row.load:.0%}"): row for row in rows}
    tables = grouped(list(last.values()), lambda row: (*setting(row), run(row)))
    lines = []
    for (case, machine, slots, queue, words), shown in tables.items():
        lines += [
            f"## Server, {case}: {about.get(case, '')}",
            "",
            f"{slots} slots, a queue of {queue}, 1 thread; {machine}; {words}.",
            "",
            *_HEAD,
            *map(line, shown),
            "",
        ]
    return lines
