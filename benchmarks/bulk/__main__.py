"""Measure bulk jobs in one process.

    python -m benchmarks.bulk                                      after `make demo`: 10 minutes
    python -m benchmarks.bulk --rows 512 --rounds 1 --sizes 1000 4000      a rehearsal

Samples and log-probabilities of the digits of the demo, in parts of 4,096 rows, are measured in
alternating rounds with the same rows by one call of the engine. Then jobs of a small model are
drawn, to compare their peak memory. Exit status 1: rows of a job were not those of the engine, and
no row of results was written for it.
"""

import argparse
import json
import sys
from pathlib import Path

from ancestral.engine import Engine
from ancestral.errors import AncestralError, ParityError
from benchmarks.bulk import memory, speed
from benchmarks.bulk.cases import TABLE
from benchmarks.cases import bundle
from benchmarks.machine import CHECKOUT
from benchmarks.parity import Parity
from benchmarks.recorder import Recorder
from benchmarks.rows import RESULTS, CaseRow

SIZES = (10**4, 10**5, 10**6)


def measure(options: argparse.Namespace) -> list[CaseRow]:
    """Measure everything, and return the rows.

    Raises:
        ParityError: the probabilities are wrong; earlier rows are already written.
    """
    recorder = Recorder.begin(options.threads, options.rounds, options.results)
    digits = _verified(options.bundle, options.threads)
    row, drawn = speed.samples(options.bundle, recorder, options.rows, digits)
    rows = [row, speed.scores(options.bundle, recorder, drawn, digits)]
    table = bundle(TABLE) if options.table is None else options.table
    sizes = tuple(options.sizes)
    return rows + memory.measured(TABLE, table, recorder, sizes, _verified(table, options.threads))


def _verified(path: Path, threads: int) -> Parity:
    """Replay the known answers of a bundle.

    Raises:
        ParityError: a check failed.
    """
    report = Engine.load(path, threads=threads).verify()
    if not report.passed:
        raise ParityError(f"{path}: {'; '.join(report.failures)}")
    return Parity.of(report)


def main(words: list[str] | None = None) -> int:
    """Measure what the command line asks for, and return the exit status."""
    options = _options(words)
    try:
        rows = measure(options)
    except AncestralError as error:
        print(error, file=sys.stderr)
        return 1 if isinstance(error, ParityError) else 2
    print(json.dumps({"rows": len(rows), "missed": [r.title for r in rows if r.met is False]}))
    return 0


def _options(words: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benchmarks.bulk", description=__doc__.splitlines()[0])
    parser.add_argument("--bundle", type=Path, default=CHECKOUT / "demo" / "digits")
    parser.add_argument("--table", type=Path, help="bundle of the small model; default: exported")
    parser.add_argument("--rows", type=int, default=4096, help="samples, and events to score")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, help="rows for the memory")
    parser.add_argument("--results", type=Path, default=RESULTS)
    return parser.parse_args(words)


if __name__ == "__main__":
    sys.exit(main())
