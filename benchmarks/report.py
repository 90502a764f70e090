"""Turn the rows into tables, between the markers of a Markdown file.

    python -m benchmarks.report                       docs/benchmarks.md
    python -m benchmarks.report README.md --check     exit status 1 if the file is out of date

The file contains the lines `<!-- benchmarks:begin -->` and `<!-- benchmarks:end -->`; the text
between them is replaced. The tables show the latest row of each case, quantity, batch and machine;
rows of another commit or day are in a table of their own. If the file contains the same lines with
`peers`, the rows of `benchmarks.peers` go between them.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from ancestral.files.atomic import write_atomically
from benchmarks.arrivals.rows import ArrivalsRow, read_rows, table
from benchmarks.bounds import MLP
from benchmarks.bulk.cases import DIGITS
from benchmarks.cases import CASES
from benchmarks.export_cost import CHECKPOINT
from benchmarks.machine import CHECKOUT
from benchmarks.peers import table as peers
from benchmarks.peers.rows import FILE, PeerRow
from benchmarks.rows import RESULTS, CaseRow, Row, grouped, number, read
from benchmarks.serving import rows as serving
from benchmarks.speculation import rows as speculation
from benchmarks.speculation.rows import SpeculationRow

_ABOUT = {case.name: case.about for case in (*CASES.values(), MLP, CHECKPOINT, DIGITS)}
BEGIN = "<!-- benchmarks:begin -->"
END = "<!-- benchmarks:end -->"
NO_PEERS = "There are no results yet: `make peers` writes them.\n"
_HEAD = (
    "| quantity | batch | ours, p50 (p20 to p80) | baseline | ratio | target | parity, nats |",
    "|---|---|---|---|---|---|---|",
)


def latest(rows: Sequence[CaseRow]) -> list[CaseRow]:
    """Return the last row of each case, quantity, batch, machine and number of threads."""
    kept: dict[tuple[object, ...], CaseRow] = {}
    for row in rows:
        key = (row.case, row.quantity, row.batch, row.machine.name, row.threads)
        kept.pop(key, None)
        kept[key] = row
    order = list(dict.fromkeys(row.quantity for row in rows))
    return sorted(kept.values(), key=lambda row: (order.index(row.quantity), row.batch))


def render(
    rows: Sequence[CaseRow],
    arrivals: Sequence[ArrivalsRow] = (),
    served: Sequence[serving.ServingRow] = (),
    speculated: Sequence[SpeculationRow] = (),
) -> str:
    """Return the tables of each machine and case, of requests, of the server, of proposals."""
    parts = []
    cases = grouped(latest(rows), lambda row: (row.machine.name, row.threads, row.case))
    for (machine, threads, case), group in cases.items():
        parts += [f"## {case}: {_ABOUT.get(case, '')}", ""]
        for run, shown in grouped(group, _run).items():
            parts += [
                f"{machine}, {threads} threads; {run}.{_published(case)}",
                "",
                *_HEAD,
                *map(_line, shown),
                "",
            ]
    parts += table(arrivals, _ABOUT, _run)
    parts += serving.table(served, _ABOUT, _run)
    parts += speculation.table(speculated)
    return "\n".join(parts).rstrip() + "\n"


def _published(case: str) -> str:
    """Return the published speedup over the whole network, for the line above a table."""
    found = CASES[case].published if case in CASES else ""
    return f" Published: {found}." if found else ""


def _line(row: CaseRow) -> str:
    spread = f" ({number(row.p20)} to {number(row.p80)})" if len(row.rounds) > 1 else ""
    ratio = "" if row.ratio is None else f"{row.ratio:.2f}"
    target = "" if row.target is None else f"{row.target}: {'met' if row.met else '**missed**'}"
    cells = (
        row.quantity,
        str(row.batch),
        f"{number(row.p50)} {row.unit}{spread}",
        row.baseline_text,
        ratio,
        target,
        row.parity.words,
    )
    return f"| {' | '.join(cells)} |"


def _run(row: Row) -> str:
    """Return the versions, the commit and the day of a row."""
    shown = ("python", "numpy", "onnxruntime", "onnxruntime-gpu")
    versions = row.machine.versions
    names = [f"{name} {versions[name]}" for name in shown if name in versions]
    return ", ".join([*names, *row.run])


def replaced(text: str, table: str, begin: str = BEGIN, end: str = END) -> str:
    """Return a text with the table between its markers.

    Raises:
        ValueError: the markers do not occur once each, in order.
    """
    before, found, rest = text.partition(begin)
    _, closed, after = rest.partition(end)
    if not found or not closed or begin in after or end in after:
        raise ValueError(f"expected the lines {begin} and {end}, once each, in this order")
    return f"{before}{begin}\n\n{table}\n{end}{after}"


def main(words: list[str] | None = None) -> int:
    """Write the tables, or compare them, and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", nargs="?", type=Path, default=CHECKOUT / "docs/benchmarks.md")
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--check", action="store_true", help="only compare, change nothing")
    options = parser.parse_args(words)
    rows = [row for name in _ABOUT for row in read(CaseRow, options.results / f"{name}.jsonl")]
    arrivals = read_rows(options.results)
    served = read(serving.ServingRow, options.results / serving.FILE)
    speculated = speculation.read_rows(options.results)
    if not (rows or arrivals or served or speculated):
        print(f"{options.results}: no rows; run: python -m benchmarks.run", file=sys.stderr)
        return 2
    try:
        old = options.file.read_text()
        new = replaced(old, render(rows, arrivals, served, speculated))
        if peers.BEGIN in new:
            table = peers.render(read(PeerRow, options.results / FILE)) or NO_PEERS
            new = replaced(new, table, peers.BEGIN, peers.END)
    except (OSError, ValueError) as error:
        print(f"{options.file}: {error}", file=sys.stderr)
        return 2
    if new == old:
        return 0
    if options.check:
        print(f"{options.file}: out of date; run: python -m benchmarks.report", file=sys.stderr)
        return 1
    write_atomically(options.file, new.encode())
    return 0


if __name__ == "__main__":
    sys.exit(main())
