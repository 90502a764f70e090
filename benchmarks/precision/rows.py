"""Rows of bundles with smaller weights, and their tables."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.rows import RESULTS, Row, grouped, number, read

FILE = "precision.jsonl"
_HEAD = (
    "| model | weights | batch | MB | peak memory, float32 = 1 | ms | float32 / ours "
    "| CTranslate2 int8 / ours | loss, nats/position | bits/dim | other draws | parity, nats |",
    "|---|---|---|---|---|---|---|---|---|---|---|---|",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class PrecisionRow(Row):
    """A bundle at one batch size. Rounds are milliseconds; float32 runs in the same rounds.

    Attributes:
        weights: types of weights and activations, in words.
        batch: batch size.
        threads: threads of the runtime.
        load_average: average number of running processes in the minute before the run.
        weights_mb: size of the weights file, in 10^6 bytes.
        peak_memory_mb: peak memory of sampling, minus that after imports; None if not measured.
        peak_ratio: that of the float32 bundle = 1.
        peer: name of another program in the same rounds.
        peer_ratio: median over rounds of the peer's time / ours.
        loss_nats: mean loss against the float32 bundle in nats per position; None without data.
        loss_error: its standard error.
        bits_per_dim: bits/dim on the same data; of a bound for latent variable models.
        draws_differ: share of positions where the same uniform draws another value.
        target: target of the ratio, in words.
        met: whether it is met; None without a target.
    """

    weights: str
    batch: int
    threads: int
    load_average: float
    weights_mb: float
    peak_memory_mb: float | None = None
    peak_ratio: float | None = None
    peer: str | None = None
    peer_ratio: float | None = None
    loss_nats: float | None = None
    loss_error: float | None = None
    bits_per_dim: float | None = None
    draws_differ: float | None = None
    target: str | None = None
    met: bool | None = None

    @property
    def title(self) -> str:
        """What was measured, in a few words."""
        return f"{self.case}, {self.weights}, batch {self.batch}"


def line(row: PrecisionRow) -> str:
    """Return a row as a line of the table."""
    loss = "" if row.loss_nats is None else f"{row.loss_nats:+.1e} +- {row.loss_error:.0e}"
    bits = "" if row.bits_per_dim is None else f"{row.bits_per_dim:.4f}"
    flips = "" if row.draws_differ is None else f"{row.draws_differ:.2%}"
    met = {True: "met", False: "**missed**", None: ""}[row.met]
    target = "" if row.target is None else f" ({row.target}: {met})"
    cells = (
        *(row.case, row.weights, str(row.batch), number(row.weights_mb), number(row.peak_ratio)),
        *(number(row.p50), f"{number(row.ratio)}{target}", number(row.peer_ratio)),
        *(loss, bits, flips, row.parity.words),
    )
    return f"| {' | '.join(cells)} |"


def table(rows: Sequence[PrecisionRow]) -> list[str]:
    """Return a table for each machine: the last row of each model, type and batch size."""
    last = {(row.case, row.weights, row.batch, row.machine.name): row for row in rows}
    lines = []
    where = grouped(list(last.values()), lambda row: (row.machine.name, row.threads))
    for (machine, threads), shown in where.items():
        lines += [f"{machine}, {threads} threads.", "", *_HEAD, *map(line, shown), ""]
    return lines


def read_rows(results: Path = RESULTS) -> list[PrecisionRow]:
    """Return the rows of all runs; an empty list if there were none."""
    return read(PrecisionRow, results / FILE)
