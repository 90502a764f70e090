"""Compare sampling with other programs, on the same weights and in one run.

    make peers                                      environments, models, then every cell
    python -m benchmarks.peers --only W2 --rounds 5 --peers ctranslate2 transformers
    python -m benchmarks.peers --prepare            environments and models only

A row for each cell goes to results/peers.jsonl. A peer that cannot be installed or cannot run a
cell is printed with its reason, and the others run. The last line is a JSON summary.
"""

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from ancestral.errors import ParityError
from benchmarks.machine import load_average, this_machine
from benchmarks.peers.comparison import Plan, compare
from benchmarks.peers.environments import OURS, PEERS, PeerError, converted, install, launch
from benchmarks.peers.rows import PeerRow, record
from benchmarks.peers.workloads import WORKLOADS, Workload
from benchmarks.rows import RESULTS


def main(words: list[str] | None = None) -> int:
    """Measure what the command line asks for, and return the exit status."""
    options = _options(words)
    missing = _missing(options.peers or [*PEERS], options.install or options.prepare)
    for reason in missing.values():
        print(reason, file=sys.stderr)
    if len(missing) == len(options.peers or PEERS) or (options.peers and missing):
        return 2
    machine = this_machine()
    plan = Plan(machine, options.rounds, tuple(options.threads), tuple(options.batch), options.new)
    works = [WORKLOADS[name] for name in options.only]
    rows: list[PeerRow] = []
    try:
        models = [models_of(work, options.peers or [*PEERS], missing) for work in works]
        if options.prepare:
            return 0
        load_average(machine)
        begin = time.monotonic()
        for work, (folders, absent) in zip(works, models, strict=True):
            for row in compare(work, folders, absent, plan):
                record(row, options.results)
                rows.append(row)
    except (PeerError, ParityError) as error:
        print(error, file=sys.stderr)
        return 1
    behind = [row.title for row in rows if row.met is False]
    seconds = round(time.monotonic() - begin)
    print(json.dumps({"rows": len(rows), "behind": behind, "seconds": seconds}))
    return 0


def _missing(peers: Sequence[str], make: bool) -> dict[str, str]:
    """Return why peers have no environment; make those that are missing if `make` is true."""
    found = {}
    for name in peers:
        try:
            if make:
                print(f"{name}: environment", file=sys.stderr)
                install(name)
            launch(name)
        except PeerError as error:
            found[name] = str(error)
    return found


def models_of(
    work: Workload, peers: Sequence[str], missing: dict[str, str]
) -> tuple[dict[str, str], dict[str, str]]:
    """Return the folders of the models of ours and the peers, and why others have none.

    Raises:
        PeerError: ours could not be exported.
    """
    folders, absent = {}, dict(missing)
    for name in (OURS, *(each for each in peers if each not in missing)):
        try:
            folders[name] = str(converted(name, work))
        except PeerError as error:
            if name == OURS:
                raise
            print(f"{work.name}: {error}", file=sys.stderr)
            absent[name] = str(error).removeprefix(f"{name}: ")
    return folders, absent


def _options(words: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.peers", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--only", nargs="+", choices=WORKLOADS, default=[*WORKLOADS], metavar="W")
    parser.add_argument(
        "--peers",
        nargs="+",
        choices=PEERS,
        default=[],
        metavar="peer",
        help=f"any of {[*PEERS]}; default: all that have an environment",
    )
    parser.add_argument(
        "--batch",
        type=int,
        nargs="+",
        default=[],
        help="batch sizes; default: those of the workload",
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--threads",
        type=int,
        nargs="+",
        default=[1, 2],
        help="numbers of threads to try; default: 1 2",
    )
    parser.add_argument("--new", type=int, help="values to draw at most: a shorter run, for trying")
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--install", action="store_true", help="make missing environments first")
    parser.add_argument(
        "--prepare", action="store_true", help="make environments and models, measure nothing"
    )
    options = parser.parse_args(words)
    new = [] if options.new is None else [options.new]
    counts = [options.rounds, *options.threads, *options.batch, *new]
    if min(counts) < 1:
        parser.error("--rounds, --threads, --batch, --new: expected numbers of at least 1")
    return options


if __name__ == "__main__":
    sys.exit(main())
