"""Make jobs over toys, work on them and read their rows, for the tests of bulk work."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from ancestral.bulk.computed import computed, load_engine
from ancestral.bulk.job import Job
from ancestral.bulk.machine import machine
from ancestral.bulk.make import make_job
from ancestral.bulk.merge import merge
from ancestral.bulk.orders import Order
from ancestral.bulk.parts import Part, Plan
from ancestral.bulk.settings import SampleSettings
from ancestral.bulk.store import Store
from ancestral.bulk.work import Worker, work

Bundles = Callable[..., Path]
"""Returns the bundle of a toy, by name."""
ROWS, PART = 8, 24
"""Rows of a batch and of a part."""


def ordered(bundle: Path, n: int | None = 200, **given: Any) -> Order:
    """Return an order of samples in small parts; nothing is left open."""
    values = {
        "settings": SampleSettings(seed=3),
        "threads": 1,
        "batch": ROWS,
        "part_size": PART,
    }
    return Order(bundle=bundle, n=n, **(values | given))


def worker_of(job: Job, store: Store, order: Order) -> Worker:
    """Return a worker with an engine of its own."""
    engine = load_engine(job, str(order.bundle))
    return Worker(job, store, computed(job, engine, store, order.data), machine(job))


def finish(
    order: Order, out: Path | str, parts: Iterable[Part] | None = None
) -> tuple[Job, Store, list[bool]]:
    """Make a job and finish its parts, or some of them; return which were computed."""
    store = Store.open(str(out))
    job = make_job(order, store)
    new: list[bool] = []
    chosen = map(Plan(job).part, range(Plan(job).count)) if parts is None else parts
    work(worker_of(job, store, order), chosen, lambda part, computed: new.append(computed))
    return job, store, new


def merged(job: Job, store: Store, out: Path) -> bytes:
    """Return the bytes of the merged file of a job."""
    merge(job, store, out)
    return out.read_bytes()


def rows_of(job: Job, store: Store, out: Path) -> Any:
    """Return the merged table of a job."""
    merge(job, store, out)
    return pq.read_table(out)


def part_files(folder: Path) -> list[Path]:
    """Return the files of parts in a folder, in order."""
    return sorted(folder.glob("part-*.parquet"))
