"""Make or continue a job, and work on a shard of it."""

import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
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
from ancestral.progress import progress_bar, stages
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
        with stages(_name(settings)) as at:
            at("making the job" if shard.index == 0 else "making the job, or waiting for it")
            job = make_job(order, store, shard)
        _work(job, store, order, common, shard)


@dataclass(slots=True)
class _Tally:
    """Rows of a shard: computed, found in the folder, and in batches of unfinished parts.

    Attributes:
        show: shows a count, the total and a text.
        total: number of rows of the shard.
        computed: rows of parts that were computed and written.
        found: rows of parts that were there.
        batches: rows of batches that were computed.
        begun: time of the start, in seconds.
    """

    show: Callable[[int, int, str], None]
    total: int
    computed: int = 0
    found: int = 0
    batches: int = 0
    begun: float = field(default_factory=time.monotonic)

    def report(self, part: Part, new: bool) -> None:
        """Count a part that is finished."""
        if new:
            self.computed += len(part)
        else:
            self.found += len(part)
        self.tell(0)

    def tell(self, rows: int) -> None:
        """Count the rows of a batch, and show the progress."""
        self.batches += rows
        rate = self.batches / max(self.seconds, 1e-9)
        self.show(self.found + self.batches, self.total, f"{rate:,.0f} rows/s")

    @property
    def seconds(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self.begun

    @property
    def words(self) -> str:
        """The rows that are in the folder, and the time."""
        kept = f", {self.found:,} were there" if self.found else ""
        return f"{self.computed:,} rows in {self.seconds:.1f} s{kept}"


def _work(job: Job, store: Store, order: Order, common: Common, shard: Shard) -> None:
    """Do the parts of a shard, with a bar, and report them."""
    with progress_bar(_name(job.settings)) as show:
        tally = _Tally(show, Plan(job).rows_of(shard))
        try:
            _finish(job, store, order, common, shard, tally)
        except (KeyboardInterrupt, SystemExit):
            say(f"stopped after {tally.words}; run the same command again to continue")
            raise
    say(
        f"{tally.words}; shard {shard.index}/{shard.count} of {job.n:,} rows, batches of "
        f"{job.rows}, parts of {job.part_size}, job {job.digest} -> {store.label}"
    )


def _name(settings: Settings) -> str:
    return f"bulk {settings.kind.replace('_', '-')}"


def _finish(
    job: Job, store: Store, order: Order, common: Common, shard: Shard, tally: _Tally
) -> None:
    plan = Plan(job)
    if order.workers > 1:
        start: dict[str, Any] = {
            "out": common.out,
            "bundle": str(common.bundle),
            "data": list(order.data),
        }
        run_workers(job, store, start, shard, order.workers, tally.report, tally.tell)
    elif plan.rows_of(shard):
        rows = computed(job, load_engine(job, str(common.bundle)), store, order.data)
        worker = Worker(job, store, rows, machine(job))
        work(worker, plan.of_shard(shard), tally.report, tally.tell)


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
