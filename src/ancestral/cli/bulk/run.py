"""Make or continue a job, and work on a shard of it."""

import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from ancestral.bulk.computed import computed, load_engine
from ancestral.bulk.job import Job
from ancestral.bulk.machine import machine
from ancestral.bulk.make import make_job
from ancestral.bulk.orders import Order
from ancestral.bulk.parts import Part, Plan, Shard
from ancestral.bulk.prompts import prompts_content
from ancestral.bulk.settings import Prompts as PromptSettings
from ancestral.bulk.settings import SampleSettings, Settings
from ancestral.bulk.store import Store
from ancestral.bulk.work import Worker, work
from ancestral.bulk.workers import run_workers
from ancestral.bundles.bundle import Bundle
from ancestral.cli.generation import Prompts, prompts_of, stops_of
from ancestral.cli.output import say
from ancestral.errors import InvalidInput
from ancestral.progress import progress_bar
from ancestral.scalars import check_threads, whole
from ancestral.threads import ThreadCount, is_measured

_TERMINATED = 143
"""Exit code after SIGTERM, as shells have it."""


@dataclass(frozen=True, slots=True)
class Common:
    """The options that all kinds of jobs have.

    Attributes:
        bundle: folder of the bundle.
        out: folder of the job, or a URL.
        job: rows of a part, rows of a batch, the shard, and the number of processes.
        runtime: backend, device, threads, dtype, and whether batches are invariant.
    """

    bundle: Path
    out: str
    job: tuple[int | None, int | None, str, int]
    runtime: tuple[str, str, ThreadCount, str | None, bool]


def run(
    common: Common,
    settings: Settings,
    *,
    n: int | None = None,
    data: Sequence[str] = (),
    prompts: Prompts | None = None,
) -> None:
    """Make or continue a job, do the parts of this shard, and report them.

    Raises:
        InvalidInput: an argument is invalid, or the folder has another job.
        OSError: the folder could not be written.
    """
    part_size, batch, shard_text, workers = common.job
    backend, device, threads, dtype, batch_invariant = common.runtime
    shard, workers = Shard.parse(shard_text), whole("--workers", workers, 1, 1024)
    if is_measured(threads):
        raise InvalidInput(
            "--threads: expected a number for a job, because bits depend on it, got measure"
        )
    _check_out(common.out, common.bundle)
    ids: Sequence[Sequence[int]] = ()
    if prompts is not None and prompts.given and isinstance(settings, SampleSettings):
        settings, ids = _with_prompts(common.bundle, settings, prompts)
    order = Order(
        settings,
        common.bundle,
        n,
        tuple(data),
        ids,
        backend,
        device,
        None if threads is None else check_threads(threads, "--threads"),
        dtype,
        batch_invariant,
        batch,
        part_size,
        workers,
    )
    store = Store.open(common.out)
    with _ended_by_sigterm():
        job = make_job(order, store, shard)
        _work(job, store, order, common, shard)


def _work(job: Job, store: Store, order: Order, common: Common, shard: Shard) -> None:
    """Do the parts of a shard, with a bar, and report them."""
    plan = Plan(job)
    total, begun = plan.rows_of(shard), time.monotonic()
    counts = {True: 0, False: 0}
    with progress_bar(f"bulk {job.settings.kind.replace('_', '-')}") as show:

        def report(part: Part, new: bool) -> None:
            counts[new] += len(part)
            rate = counts[True] / max(time.monotonic() - begun, 1e-9)
            show(sum(counts.values()), total, f"{rate:,.0f} rows/s")

        _finish(job, store, order, common, shard, report)
    seconds = time.monotonic() - begun
    kept = f", {counts[False]:,} were there" if counts[False] else ""
    say(
        f"{counts[True]:,} rows in {seconds:.1f} s{kept}; shard {shard.index}/{shard.count} of "
        f"{job.n:,} rows, batches of {job.rows}, parts of {job.part_size}, job {job.digest} -> "
        f"{store.label}"
    )


def _finish(
    job: Job,
    store: Store,
    order: Order,
    common: Common,
    shard: Shard,
    report: Callable[[Part, bool], None],
) -> None:
    plan = Plan(job)
    if order.workers > 1:
        start: dict[str, Any] = {
            "out": common.out,
            "bundle": str(common.bundle),
            "data": list(order.data),
        }
        run_workers(job, store, start, shard, order.workers, report)
    elif plan.rows_of(shard):
        rows = computed(job, load_engine(job, str(common.bundle)), store, order.data)
        work(Worker(job, store, rows, machine(job)), plan.of_shard(shard), report)


def _with_prompts(
    bundle: Path, settings: SampleSettings, prompts: Prompts
) -> tuple[SampleSettings, list[list[int]]]:
    """Return the settings with the prompts' hash, and the ids of each prompt."""
    opened = Bundle.open(bundle)
    tokenizer = None if opened.manifest.data.tokenizer is None else opened.tokenizer()
    ids = prompts_of(prompts, tokenizer)
    found = PromptSettings(
        sha256=prompts_content(ids)[1],
        count=len(ids),
        max_new=None if prompts.max_new is None else whole("--max-new", prompts.max_new, 1),
        stop=stops_of(prompts, tokenizer),
    )
    return settings.model_copy(update={"prompts": found}), ids


def _check_out(out: str, bundle: Path) -> None:
    """Check that the folder of the job is not inside the bundle.

    Raises:
        InvalidInput: it is.
    """
    if "://" not in out and Path(out).resolve().is_relative_to(bundle.resolve()):
        raise InvalidInput(f"--out: {out} is inside {bundle}, an input; give another folder")


@contextmanager
def _ended_by_sigterm() -> Iterator[None]:
    """End the command at SIGTERM as at Ctrl-C: the part that is being written is removed."""

    def end(number: int, frame: FrameType | None) -> NoReturn:
        raise SystemExit(_TERMINATED)

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
