"""Measure a bulk job on Ray with the same job on plain processes.

    python -m benchmarks.bulk.ray                                           some minutes
    python -m benchmarks.bulk.ray --case tiny -n 2000 --part-size 96 --rounds 1     a rehearsal

Needs `ancestral[ray]`. In each round two processes of `--workers 2` and two actors of a local Ray
cluster, which has been started, do the same job: from the order to the last part. Exit status 1:
their merged files differ, or the bundle does not keep the probabilities, and no row was written.
"""

import argparse
import itertools
import json
import os
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import ray

from ancestral.bulk.job import Job
from ancestral.bulk.make import make_job
from ancestral.bulk.merge import merge
from ancestral.bulk.orders import Order
from ancestral.bulk.parts import WHOLE
from ancestral.bulk.ray import run
from ancestral.bulk.settings import SampleSettings
from ancestral.bulk.store import Store
from ancestral.bulk.workers import run_workers
from ancestral.errors import ParityError
from benchmarks.cases import CASES, bundle
from benchmarks.machine import environment
from benchmarks.recorder import Recorder
from benchmarks.rows import RESULTS, Bound, CaseRow
from benchmarks.run import Subject

PROCESSES = 2
TARGET = Bound("processes / Ray", ">=", 0.85)


def on_processes(order: Order, out: Path) -> Job:
    """Do a job as `ancestral bulk sample --workers 2` does."""
    store = Store.open(str(out))
    job = make_job(order, store)
    start = {"out": str(out), "bundle": str(order.bundle), "data": []}
    run_workers(job, store, start, WHOLE, PROCESSES, lambda part, new: None)
    return job


def on_ray(order: Order, out: Path) -> Job:
    """Do a job by as many actors."""
    return run(order, str(out), actors=PROCESSES)


WAYS = {"Ray": on_ray, "processes": on_processes}


def measure(options: argparse.Namespace) -> CaseRow:
    """Measure both ways in alternating rounds, and write and return the row.

    Raises:
        ParityError: the merged files differ, or the bundle does not keep the probabilities.
    """
    recorder = Recorder.begin(1, options.rounds, options.results)
    subject = Subject.load(CASES[options.case], recorder)
    order = Order(
        SampleSettings(seed=1),
        bundle(subject.case),
        options.n,
        threads=1,
        batch=options.batch,
        part_size=options.part_size,
    )
    seconds: dict[str, list[float]] = {name: [] for name in WAYS}
    for turn in range(-1, options.rounds):
        # The first turn is the warm-up. The order changes, so that neither is always first.
        names = list(WAYS) if turn % 2 else list(reversed(WAYS))
        with TemporaryDirectory() as folder:
            merged = []
            for name in names:
                out, begun = Path(folder) / name, time.perf_counter()
                job = WAYS[name](order, out)
                if turn >= 0:
                    seconds[name].append(time.perf_counter() - begun)
                file = out.with_suffix(".parquet")
                merge(job, Store.open(str(out)), file)
                merged.append(file.read_bytes())
            if any(one != other for one, other in itertools.pairwise(merged)):
                raise ParityError(
                    f"{options.case}: expected equal merged files, got those of Ray and of "
                    f"processes that differ; run `ancestral bulk check` on both"
                )
    return recorder.add(
        subject.case,
        (f"bulk job of {options.n} rows, {PROCESSES} actors of Ray", "s"),
        options.batch,
        tuple(seconds["Ray"]),
        subject.parity,
        (f"{PROCESSES} processes", tuple(seconds["processes"])),
        TARGET,
    )


def main(words: list[str] | None = None) -> int:
    """Measure what the command line asks for, and return the exit status."""
    options = _options(words)
    os.environ |= environment(RAY_USAGE_STATS_ENABLED="0")
    ray.init(num_cpus=PROCESSES, include_dashboard=False, log_to_driver=False)
    try:
        row = measure(options)
    except ParityError as error:
        print(error, file=sys.stderr)
        return 1
    finally:
        ray.shutdown()
    print(json.dumps({"rows": 1, "missed": [row.title] if row.met is False else []}))
    return 0


def _options(words: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="benchmarks.bulk.ray", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--case", choices=[*CASES], default="digits", metavar="case")
    parser.add_argument("-n", type=int, default=50_000, help="rows of the job")
    parser.add_argument("--batch", type=int, default=64, help="rows of a batch")
    parser.add_argument("--part-size", type=int, default=1024, help="rows of a part")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--results", type=Path, default=RESULTS)
    options = parser.parse_args(words)
    if min(options.n, options.batch, options.part_size, options.rounds) < 1:
        parser.error("-n, --batch, --part-size, --rounds: expected numbers of at least 1")
    return options


if __name__ == "__main__":
    sys.exit(main())
