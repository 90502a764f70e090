"""`ancestral bulk status`, `check` and `merge`: what is in the folder of a job."""

from dataclasses import asdict, fields, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ancestral.cli import options
from ancestral.cli.bulk.options import (
    BundleOfJob,
    DataOfJob,
    FolderOfJob,
    data_of,
    require_packages,
)
from ancestral.cli.output import arrow, check_target, json_text, put, say

if TYPE_CHECKING:
    from ancestral.bulk.check import Check
    from ancestral.bulk.status import Status


def status(folder: FolderOfJob, json: options.Json = False) -> None:
    """Show which parts of a job are done, and the time left.

    Reads the names and the ends of the files; `ancestral bulk check` reads all of them. The exit
    code is 1 if a part is damaged.
    """
    require_packages()
    from ancestral.bulk.job import require_job
    from ancestral.bulk.status import status as status_of
    from ancestral.bulk.store import Store
    from ancestral.progress import duration

    store = Store.open(folder)
    job = require_job(store)
    found = status_of(job, store)
    if json:
        put(json_text(_document(found) | {"job": job.digest, "kind": job.settings.kind}))
    else:
        put(f"job          {job.digest}: {job.settings.kind} of {job.bundle.name}, {job.n:,} rows")
        put(f"done         {found.done:,} of {found.parts:,} parts, {found.rows_done:,} rows")
        put(f"missing      {found.missing:,} parts")
        _put_files(found)
        if found.rate is not None:
            put(f"rate         {found.rate:,.1f} rows/s")
        if found.left is not None and found.missing:
            put(f"time left    {duration(found.left)} at this rate")
    if found.damaged:
        raise typer.Exit(1)


def check(
    folder: FolderOfJob,
    bundle: BundleOfJob = None,
    data: DataOfJob = None,
    share: Annotated[
        float,
        typer.Option(
            rich_help_panel="Checks",
            metavar="P",
            help="Share of the batches that are computed again; at least one is unless P is 0.",
        ),
    ] = 0.01,
    json: options.Json = False,
) -> None:
    """Check that a job is complete and right.

    Reads every part and compares it with its hash, reports a mixture of machines, and computes a
    share of the rows again. The exit code is 1 if a part is missing or damaged, or a row differs.
    """
    require_packages()
    from ancestral.bulk.check import check as check_of
    from ancestral.bulk.computed import computed, load_engine
    from ancestral.bulk.job import require_job
    from ancestral.bulk.store import Store
    from ancestral.errors import InvalidInput
    from ancestral.progress import progress_bar

    if not 0 <= share <= 1:
        raise InvalidInput(f"--share: expected a number in [0, 1], got {share}")
    store = Store.open(folder)
    job = require_job(store)
    engine = load_engine(job, None if bundle is None else str(bundle))
    with progress_bar("checking") as progress:
        rows = computed(job, engine, store, data_of(job, data))
        found = check_of(job, store, engine, rows, share, progress)
    if json:
        put(json_text(_document(found) | {"job": job.digest, "kind": job.settings.kind}))
    else:
        put(f"sound        {found.sound:,} of {found.parts:,} parts")
        _put_files(found)
        _put_redrawn(found)
    for failure in found.failures:
        say(failure)
    if not found.passed:
        raise typer.Exit(1)


def merge(
    folder: FolderOfJob,
    out: Annotated[
        Path,
        options.output_option("-o", "--out", metavar="FILE.parquet", help="File to write."),
    ],
) -> None:
    """Merge the parts of a job into one Parquet file.

    Rows are in the order of the index, and each part is a row group. Every part is compared with
    its hash.
    """
    require_packages()
    from ancestral.bulk.job import require_job
    from ancestral.bulk.merge import merge as merge_of
    from ancestral.bulk.parts import part_of_name
    from ancestral.bulk.store import Store
    from ancestral.errors import InvalidInput
    from ancestral.progress import progress_bar

    check_target(out, (".parquet",))
    if part_of_name(out.name) is not None:
        raise InvalidInput(f"--out: expected another name than that of a part, got {out.name}")
    store = Store.open(folder)
    job = require_job(store)
    with progress_bar("merging") as progress:
        rows = merge_of(job, store, out, progress)
    say(f"{rows:,} rows{arrow(out)}")


def _put_files(found: "Status | Check") -> None:
    """Print the damaged, superseded and foreign files, and the machines."""
    for name, problem in found.damaged:
        put(f"damaged      {name}: {problem}")
    if found.superseded:
        put(f"superseded   {len(found.superseded)} shorter parts of an earlier number of rows")
    if found.foreign:
        put(f"foreign      {len(found.foreign)} parts of other jobs")
    for machine, parts in found.machines.most_common():
        put(f"machine      {parts:,} parts: {machine}")


def _put_redrawn(found: "Check") -> None:
    """Print how the rows compare that were computed again, and whether machines differ."""
    again = found.redrawn
    if len(found.instructions) > 1:
        put(
            f"mixture      {len(found.instructions)} sets of instructions: rows may differ at near "
            f"ties, and log-probabilities in their last bits"
        )
    put(f"redrawn      {again.rows:,} rows, {again.equal:,} of them equal in bits")
    if again.rows > again.equal:
        put(
            f"             {again.close:,} with equal values, at most {again.max_nats:.3g} nats "
            f"apart (limit {again.limit_nats:.3g}); {again.near_ties:,} near ties; "
            f"{again.unjudged:,} not judged; {again.wrong:,} wrong"
        )


def _document(found: "Status | Check") -> dict[str, object]:
    """Return the JSON of a status or a check: its fields, and what they mean."""
    derived = ("missing", "complete", "rate", "left", "passed", "failures")
    names = [each.name for each in fields(found) if each.name != "times"]
    values = {name: getattr(found, name) for name in (*names, *derived) if hasattr(found, name)}
    return {name: _plain(value) for name, value in values.items()}


def _plain(value: object) -> object:
    """Return a value as JSON has it."""
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    return sorted(value) if isinstance(value, set) else value
