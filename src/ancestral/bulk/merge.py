"""Merge the parts of a job into one Parquet file, in the order of the index."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ancestral.bulk.ahead import in_order
from ancestral.bulk.job import Job
from ancestral.bulk.parts import Plan
from ancestral.bulk.store import Store
from ancestral.bulk.table import read_part
from ancestral.engine.arguments import Progress
from ancestral.errors import InvalidInput
from ancestral.files.atomic import write_atomically

_KEY = b"ancestral"


def merge(job: Job, store: Store, out: Path, progress: Progress | None = None) -> int:
    """Write all rows of a job to one file, a row group for each part; return their number.

    One part is in memory at a time. The bytes of the file depend on the rows only, not on who
    computed them.

    Args:
        job: the job of the folder.
        store: the folder.
        out: the file.
        progress: called as `progress(done, total)`, in parts.

    Raises:
        InvalidInput: the job has no rows, or a part is missing or damaged.
        OSError: the file could not be written; an old file of that name is intact.
    """
    plan = Plan(job)
    if not plan.count:
        raise InvalidInput(f"{store.label}: expected a job with at least one row, got n = 0")
    names = (plan.part(number).name for number in range(plan.count))
    for name, there in in_order(store.has, names):
        # Before an hour of work, not after it.
        if not there:
            raise InvalidInput(
                f"{store.shown(name)}: no such file; run the command that made the job again"
            )
    facts = {"digest": job.digest, "bundle": job.bundle.sha256, "first": 0, "end": job.n}
    metadata = {_KEY: json.dumps(facts)}

    def write(file: Any) -> None:
        writer: pq.ParquetWriter | None = None
        try:
            for number in range(plan.count):
                table = _read(plan, number, store).replace_schema_metadata(metadata)
                if writer is None:
                    writer = pq.ParquetWriter(
                        pa.PythonFile(file, "w"), table.schema, write_page_checksum=True
                    )
                writer.write_table(table, row_group_size=len(table))
                if progress is not None:
                    progress(number + 1, plan.count)
        finally:
            if writer is not None:
                writer.close()

    write_atomically(out, write)
    return job.n


def _read(plan: Plan, number: int, store: Store) -> pa.Table:
    """Return the rows of a part.

    Raises:
        InvalidInput: the part is missing or damaged.
    """
    part = plan.part(number)
    content = store.read(part.name)
    table, _, problem = read_part(content or b"", part, plan.job.bundle.sha256)
    if table is None:
        raise InvalidInput(
            f"{store.shown(part.name)}: {problem}; run the command that made the job again"
        )
    return table
