"""The work of one process: each part of a shard that is missing or damaged is computed."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ancestral.bulk.computed import Computed, Tell, ignored, part_columns
from ancestral.bulk.job import Job
from ancestral.bulk.parts import Part, Plan
from ancestral.bulk.store import Store
from ancestral.bulk.table import encoded, read_part, table_of

Report = Callable[[Part, bool], object]
"""Called after each part; the second argument is whether it was computed, not only found."""


@dataclass(frozen=True, slots=True)
class Worker:
    """Computes parts of a job and writes them. Several of them may work on the same parts.

    Attributes:
        job: the job.
        store: its folder.
        rows: its rows.
        machine: description of this machine, for the metadata.
    """

    job: Job
    store: Store
    rows: Computed
    machine: Mapping[str, Any]

    def finish(self, part: Part, tell: Tell = ignored) -> bool:
        """Make sure that a part is in the folder and sound; return whether it was computed.

        A part that is there is read and checked against its hash. A shorter part that it replaces
        is deleted after it is written.

        Args:
            part: the part.
            tell: function that is called after each batch with its number of rows.

        Raises:
            InvalidInput: a row of the data is refused.
            NotADistribution: a log-probability is NaN.
            BundleError: the bundle has changed.
            OSError: the part could not be written.
        """
        content = self.store.read(part.name)
        found = content is not None and is_sound(content, part, self.job)
        if not found:
            columns = part_columns(self.rows, part, self.job, tell)
            table = table_of(columns, part.first)
            self.store.put(part.name, encoded(table, part, self.job.bundle.sha256, self.machine))
        for shorter in Plan(self.job).superseded(part):
            self.store.delete(shorter.name)
        return not found


def is_sound(content: bytes, part: Part, job: Job) -> bool:
    """Return whether the content of a file is that part, whole and unaltered."""
    return read_part(content, part, job.bundle.sha256)[2] is None


def work(worker: Worker, parts: Iterable[Part], report: Report, tell: Tell = ignored) -> None:
    """Finish parts one after another.

    Args:
        worker: the job and its rows.
        parts: the parts.
        report: function that is called after each part.
        tell: function that is called after each batch with its number of rows.

    Raises:
        InvalidInput: a row of the data is refused.
        NotADistribution: a log-probability is NaN.
        BundleError: the bundle has changed.
        OSError: a part could not be written; the earlier ones are in the folder.
    """
    for part in parts:
        report(part, worker.finish(part, tell))
