"""Peak memory of a job, in a process that does nothing else.

python -m benchmarks.bulk.memory BUNDLE ROWS THREADS FOLDER        print one JSON line
"""

import json
import sys
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from ancestral.bulk.check import check
from ancestral.bulk.orders import Order
from ancestral.bulk.parts import Plan
from ancestral.bulk.settings import SampleSettings
from ancestral.bulk.work import work
from ancestral.engine.timing import in_process, memory_now, memory_peak
from benchmarks.bulk.jobs import Opened
from benchmarks.cases import Case
from benchmarks.machine import environment
from benchmarks.parity import Parity
from benchmarks.recorder import Recorder
from benchmarks.rows import Bound, CaseRow

MOST_GROWTH = 1.1
"""Target for the peak of every job over that of the smallest."""
BATCH, PART_SIZE = 256, 4096


def measured(
    case: Case, bundle: Path, recorder: Recorder, sizes: tuple[int, ...], verified: Parity
) -> list[CaseRow]:
    """Measure the peak memory of jobs with these numbers of rows, each in a process of its own.

    Raises:
        ParityError: a row of a job differs from what the engine draws.
    """
    rows: list[CaseRow] = []
    for n in sizes:
        with TemporaryDirectory() as folder:
            words = (str(bundle), str(n), str(recorder.threads), folder)
            found = in_process(
                f"{n} rows", "benchmarks.bulk.memory", *words, environment=environment()
            )
        first = rows[0].p50 if rows else found["peak_mb"]
        parity = replace(verified, sample_nats=0.0, unexplained=found["different"])
        rows.append(
            recorder.add(
                case,
                (f"peak memory of {n:,} samples", "MB"),
                BATCH,
                (found["peak_mb"],),
                parity,
                bound=Bound("peak / that of the smallest job", "<=", MOST_GROWTH) if rows else None,
                ratio=found["peak_mb"] / first if rows else None,
                peak_memory_mb=found["peak_mb"],
                warm_ups=0,
            )
        )
    return rows


def measure(bundle: Path, n: int, threads: int, folder: str) -> dict[str, Any]:
    """Draw a job in this process; return its peak memory and the rows that `check` finds wrong.

    The peak is that until the last part is written, minus the memory after imports, in 10^6 bytes.
    """
    before = memory_now()
    order = Order(SampleSettings(), bundle, n, threads=threads, batch=BATCH, part_size=PART_SIZE)
    job = Opened.of(order, folder)
    plan = Plan(job.worker.job)
    work(job.worker, map(plan.part, range(plan.count)), lambda part, new: None)
    peak = (memory_peak() - before) / 1e6
    found = check(job.worker.job, job.worker.store, job.engine, job.worker.rows, share=0.001)
    return {"peak_mb": peak, "different": found.redrawn.rows - found.redrawn.equal + found.missing}


if __name__ == "__main__":
    text, count, cores, out = sys.argv[1:]
    print(json.dumps(measure(Path(text), int(count), int(cores), out)))
