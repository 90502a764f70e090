"""Write the tables of "A thousand machines" between their markers in docs/bulk.md.

    python -m benchmarks.bulk.table              docs/bulk.md
    python -m benchmarks.bulk.table FILE.md      another page with the markers

The tables are of 10^9 rows on `Machines()`, whose parts are in `ObjectStore()`.
"""

import argparse
import sys
from pathlib import Path

from ancestral.bulk.ahead import CALLS
from ancestral.files.atomic import write_atomically
from ancestral.progress import duration
from benchmarks.bulk.simulation import (
    END,
    LOOK,
    NAMES,
    READ,
    Machines,
    ObjectStore,
    Outcome,
    simulate,
    written,
)
from benchmarks.machine import CHECKOUT
from benchmarks.report import replaced

BEGIN = "<!-- simulation:begin -->"
END_OF_TABLES = "<!-- simulation:end -->"
ROWS = 10**9
SIZES = (4_096, 16_384, 65_536, 262_144)
SHARDS = (1_000, 10_000)
_TIMES = (
    "| rows of a part | time of a part | next part | 1,000 shards | 10,000 shards | lost rows |",
    "|---|---|---|---|---|---|",
)
_STORE = (
    "| rows of a part | files | requests/s | continue | `status` | `check --share 0` | `merge` |",
    "|---|---|---|---|---|---|---|",
)


def ideal(machines: Machines, rows: int) -> float:
    """Return the seconds that machines take which neither fail nor wait."""
    return rows / (machines.count * machines.rate)


def requests(store: ObjectStore, found: Outcome, part_size: int) -> int:
    """Return the number of requests of the workers of a job."""
    made = sum(LOOK.values()) + sum(written(store.size(part_size)).values())
    return found.parts * made + found.reads * sum(READ.values())


def listing(store: ObjectStore, parts: int) -> float:
    """Return the seconds in which the names of a folder are listed."""
    return -(-parts // NAMES) * store.time({"LIST": 1})


def continue_seconds(machines: Machines, store: ObjectStore, parts: int, part_size: int) -> float:
    """Return the seconds in which all machines together read all parts."""
    served = parts * sum(READ.values()) / store.limit
    return max(served, -(-parts // machines.count) * store.reading(part_size))


def status_seconds(store: ObjectStore, parts: int) -> float:
    """Return the seconds of `ancestral bulk status`: the names, and the end of each file."""
    return listing(store, parts) + parts * (store.time(END) / CALLS + store.decode_end)


def check_seconds(store: ObjectStore, parts: int, part_size: int) -> float:
    """Return the seconds of `ancestral bulk check` without the rows that are computed again."""
    return listing(store, parts) + parts * store.reading(part_size)


def merge_seconds(store: ObjectStore, parts: int, part_size: int) -> float:
    """Return the seconds of `ancestral bulk merge`: it looks for all parts, then it reads them."""
    return parts * (store.time(LOOK) / CALLS + store.reading(part_size))


def tables(machines: Machines, store: ObjectStore) -> str:
    """Return both tables."""
    times, kept = [*_TIMES], [*_STORE]
    least = ideal(machines, ROWS)
    for size in SIZES:
        taken = simulate(machines, store, ROWS, size)
        shards = [simulate(machines, store, ROWS, size, count) for count in SHARDS]
        late = " | ".join(_late(each, least) for each in (taken, *shards))
        lost = f"{100 * taken.lost / taken.needed:.3f} %"
        part = duration(size / machines.rate)
        times.append(f"| {size:,} | {part} | {late} | {lost} |")
        parts = taken.parts
        cells = (
            f"{parts:,}",
            f"{requests(store, taken, size) / taken.seconds:,.1f}",
            duration(continue_seconds(machines, store, parts, size)),
            duration(status_seconds(store, parts)),
            duration(check_seconds(store, parts, size)),
            duration(merge_seconds(store, parts, size)),
        )
        kept.append(f"| {size:,} | {' | '.join(cells)} |")
    return "\n".join((*times, "", *kept, ""))


def _late(found: Outcome, least: float) -> str:
    return f"+{100 * (found.seconds / least - 1):.1f} %"


def main(words: list[str] | None = None) -> int:
    """Write the tables, and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", nargs="?", type=Path, default=CHECKOUT / "docs/bulk.md")
    page = parser.parse_args(words).file
    text = replaced(page.read_text(), tables(Machines(), ObjectStore()), BEGIN, END_OF_TABLES)
    write_atomically(page, text.encode())
    return 0


if __name__ == "__main__":
    sys.exit(main())
