"""Make the job of a folder, or read it and compare it with what was asked for."""

import time
from collections.abc import Callable, Iterator, Sequence

from ancestral.bulk.batch_size import measured_rows
from ancestral.bulk.computed import computed, load_engine
from ancestral.bulk.data import check_unchanged, described
from ancestral.bulk.draws import check_seed
from ancestral.bulk.job import JOB, MOST, BundleName, DataFile, Job, Runtime, check_same, read_job
from ancestral.bulk.machine import versions
from ancestral.bulk.orders import PART_SIZE, Order
from ancestral.bulk.parts import WHOLE, Shard
from ancestral.bulk.prompts import write_prompts
from ancestral.bulk.settings import BoundSettings, SampleSettings
from ancestral.bulk.store import Store
from ancestral.bundles.bundle import Bundle
from ancestral.errors import InvalidInput
from ancestral.processor import physical_cores
from ancestral.scalars import check_threads, whole

WAIT = 600.0
"""Seconds for which a shard waits until shard 0 has made the job."""
_PAUSE = 1.0


def make_job(
    order: Order,
    store: Store,
    shard: Shard = WHOLE,
    sleep: Callable[[float], None] = time.sleep,
) -> Job:
    """Return the job of a folder, which is made if there is none.

    The first process chooses what the order leaves open (rows of a batch, size of a part, threads)
    and writes job.json; later ones use its choices. A larger `n` extends the job. In an object
    store, only shard 0 makes a job, unless nothing is left open; the others wait for it.

    Args:
        order: what is asked for.
        store: the folder.
        shard: the shard of this process.
        sleep: function that waits for some seconds.

    Raises:
        InvalidInput: the folder has another job, or an argument is invalid.
        BundleError: the bundle is missing or damaged.
        BackendUnavailable: the backend cannot run here.
        OSError: the folder cannot be written.
    """
    found = read_job(store)
    if found is None and _must_wait(order, store, shard):
        found = _awaited(store, sleep)
    if found is None:
        return _made(order, store)
    wanted = _as_found(order, _new(order, found.data), found)
    check_same(found, wanted, store)
    if order.prompts:
        write_prompts(store, order.prompts)
    extended = found.extended(wanted.n)
    if extended != found:
        store.put(JOB, extended.to_json())
    return extended


def _must_wait(order: Order, store: Store, shard: Shard) -> bool:
    chosen = None not in (order.batch, order.threads)
    return shard.index > 0 and not store.exclusive and not chosen


def _awaited(store: Store, sleep: Callable[[float], None]) -> Job:
    """Wait for the job that shard 0 makes.

    Raises:
        InvalidInput: it did not come in time.
    """
    for _ in range(int(WAIT / _PAUSE)):
        found = read_job(store)
        if found is not None:
            return found
        sleep(_PAUSE)
    raise InvalidInput(
        f"{store.shown(JOB)}: no such file after {WAIT:.0f} s; start shard 0, which makes the job"
    )


def _made(order: Order, store: Store) -> Job:
    """Make the job and write job.json; if another process was faster, its job is the one."""
    job = _new(order)
    if order.prompts:
        write_prompts(store, order.prompts)
    rows = computed(job, load_engine(job), store, order.data)
    samples = isinstance(job.settings, SampleSettings)
    if job.n or samples:
        # The first row shows what is wrong with the arguments, before anything is written.
        rows.columns(0, 1)
    batch = order.batch
    if batch is None:
        batch = measured_rows(rows, None if samples else job.n)
    job = job.model_copy(update={"rows": batch, "part_size": _rounded(order.part_size, batch)})
    if not store.put_new(JOB, job.to_json()):
        return make_job(order, store)
    return job


def _new(order: Order, known: tuple[DataFile, ...] = ()) -> Job:
    """Return a job with one row in a batch, all else as it was ordered or by default.

    Args:
        order: what is asked for.
        known: files of data of the folder's job; those that have not changed are not read again.

    Raises:
        InvalidInput: an argument is invalid.
        BundleError: the bundle is missing or damaged.
    """
    if order.batch is not None:
        whole("--batch", order.batch, 1)
    if order.part_size is not None:
        whole("--part-size", order.part_size, 1, 2**39)
    data = tuple(_data(order.data, known))
    n = sum(file.rows for file in data) if order.data else whole("--n", order.n, 0, MOST)
    if isinstance(order.settings, SampleSettings | BoundSettings):
        check_seed(order.settings.seed, n)
    bundle = Bundle.open(order.bundle)
    settings = order.settings
    if isinstance(settings, SampleSettings) and settings.labels is None:
        settings = settings.model_copy(update={"labels": _every_label(bundle)})
    digest = bundle.manifest.sha256
    return Job(
        settings=settings,
        bundle=BundleName(sha256=digest, name=bundle.path.name, path=str(bundle.path)),
        n=n,
        rows=1,
        part_size=1,
        runtime=Runtime(
            backend=order.backend,
            device=order.device,
            threads=_threads(order),
            dtype=order.dtype,
            batch_invariant=order.batch_invariant,
        ),
        data=data,
        versions=versions(),
    )


def _data(paths: Sequence[str], known: Sequence[DataFile]) -> Iterator[DataFile]:
    """Yield the files of data; a file of the folder's job that has not changed is kept."""
    for i, path in enumerate(paths):
        if i < len(known):
            try:
                check_unchanged(path, known[i])
            except InvalidInput:
                yield described(path)
            else:
                yield known[i]
        else:
            yield described(path)


def _every_label(bundle: Bundle) -> tuple[int, ...] | None:
    """Return the labels of a conditional model, through which samples cycle; else None."""
    data = bundle.prior().manifest.data if bundle.manifest.has_prior else bundle.manifest.data
    return None if data.num_classes is None else tuple(range(data.num_classes))


def _threads(order: Order) -> int | None:
    """Return the CPU threads of each process: those that were ordered, or its share of the cores.

    Raises:
        InvalidInput: the number is out of range.
    """
    if order.threads is not None:
        return check_threads(order.threads, "--threads")
    if order.device != "cpu":
        return None
    return max(1, physical_cores() // max(1, order.workers))


def _as_found(order: Order, job: Job, found: Job) -> Job:
    """Return the job that was ordered; what the order leaves open is as in the job found."""
    rows = found.rows if order.batch is None else order.batch
    size = found.part_size if order.part_size is None else _rounded(order.part_size, rows)
    threads = found.runtime.threads if order.threads is None else order.threads
    runtime = job.runtime.model_copy(update={"threads": threads})
    return job.model_copy(update={"rows": rows, "part_size": size, "runtime": runtime})


def _rounded(size: int | None, rows: int) -> int:
    """Return the size of a part, rounded up to whole batches."""
    wanted = PART_SIZE if size is None else size
    return -(-wanted // rows) * rows
