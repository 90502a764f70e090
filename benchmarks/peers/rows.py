"""Rows of the comparison with peers: one cell with the rounds of every program."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.rows import RESULTS, Bound, Rounds, Row, append, number

FILE = "peers.jsonl"
AHEAD = Bound("best peer / ours", ">", 1)
"""Target of every cell."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerResult:
    """One program in one cell.

    Attributes:
        name: name of the peer.
        threads: threads it ran with: the number with the shortest trial; 0 if it did not run.
        versions: versions of its packages.
        rounds: milliseconds of each round, divided by the number of values drawn in a row; empty
            if it did not run. A program far behind the fastest one runs one round only.
        nats: largest difference of a given sequence's log p from ours, over its beginnings.
        drawn_nats: mean -log p of drawn values under the model, in nats.
        reason: why it is left out of this cell; "" if it is not.
    """

    name: str
    threads: int = 0
    versions: dict[str, str]
    rounds: Rounds = ()
    nats: float | None = None
    drawn_nats: float | None = None
    reason: str = ""

    @property
    def ms(self) -> float:
        """Median of the rounds."""
        return float(np.median(self.rounds))


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerRow(Row):
    """A cell: ours, and the fastest peer as its baseline.

    Attributes:
        batch: batch size.
        sampling: how values are drawn, in words.
        prefix: number of values in each prompt, after the start token.
        new: number of values drawn in each row.
        threads: threads of ours: the number with the shortest trial.
        drawn_nats: mean -log p of our drawn values, in nats.
        load_average: average number of running processes in the minute before the run.
        peers: all peers that were asked for.
        target: target of the ratio, in words; None if no peer ran.
        met: whether the target is met.
    """

    batch: int
    sampling: str
    prefix: int
    new: int
    threads: int
    drawn_nats: float
    load_average: float
    peers: tuple[PeerResult, ...]
    target: str | None = None
    met: bool | None = None

    @property
    def title(self) -> str:
        """What was measured, in a few words."""
        return f"{self.case}, batch {self.batch}, {self.sampling}"

    @property
    def numbers(self) -> tuple[float, ...]:
        """All numbers that have to be finite."""
        rounds = [each for peer in self.peers for each in peer.rounds]
        return (*self.rounds, *self.baseline_rounds, *rounds)


def record(row: PeerRow, results: Path = RESULTS) -> None:
    """Append a row to the file of the peers, and print it.

    Raises:
        ParityError: the probabilities of this run are wrong.
    """
    append(row, results / FILE)
    print(line(row), flush=True)


def line(row: PeerRow) -> str:
    """Return a row as a readable line."""
    found = [f"ours {number(row.p50)} ({row.threads})"]
    for peer in row.peers:
        found.append(f"{peer.name} {cell(peer)}" if peer.rounds else f"{peer.name}: {peer.reason}")
    ratio = "" if row.ratio is None else f"; best peer / ours {row.ratio:.2f}"
    return f"{row.title}, ms/step (threads): {', '.join(found)}{ratio}"


def cell(peer: PeerResult) -> str:
    """Return the median and the threads: "36.2 (2)"; "-" if the peer did not run."""
    return f"{number(peer.ms)} ({peer.threads})" if peer.rounds else "-"
