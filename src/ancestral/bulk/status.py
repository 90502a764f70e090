"""What is in the folder of a job: parts that are done, missing, damaged, superseded or foreign."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from ancestral.bulk.ahead import in_order
from ancestral.bulk.job import Job
from ancestral.bulk.machine import machine_text
from ancestral.bulk.parts import Part, Plan, part_of_name
from ancestral.bulk.store import Listed, Store
from ancestral.bulk.table import Facts, footer_of

PAUSE = 60.0
"""Seconds between two parts from which on the job may have paused."""


@dataclass(slots=True)
class Status:
    """Files of a folder by their state, and the speed.

    Attributes:
        parts: number of parts of the job.
        rows: number of rows of the job.
        done: parts whose files have the right metadata.
        rows_done: their number of rows.
        damaged: name and problem of files that are not what their names say.
        superseded: names of shorter parts of an earlier `n`, which a longer part replaces.
        foreign: names of parts of other jobs, or outside the parts of this one.
        machines: number of parts from each machine, by its description in one line.
        times: time of each part that is done, in nanoseconds.
    """

    parts: int
    rows: int
    done: int = 0
    rows_done: int = 0
    damaged: list[tuple[str, str]] = field(default_factory=list)
    superseded: list[str] = field(default_factory=list)
    foreign: list[str] = field(default_factory=list)
    machines: Counter[str] = field(default_factory=Counter)
    times: list[int] = field(default_factory=list)

    @property
    def missing(self) -> int:
        """Number of parts without a file, or with a damaged one."""
        return self.parts - self.done

    @property
    def complete(self) -> bool:
        """Whether all parts are done and no file is damaged."""
        return not self.missing and not self.damaged

    @property
    def rate(self) -> float | None:
        """Rows per second while parts were written; None if there is one time.

        A pause, in which the job did not run, is a gap between two parts that is longer than
        `PAUSE` and than twenty usual gaps; it does not count.
        """
        gaps = np.diff(np.sort(np.array(self.times, np.float64) / 1e9))
        if not len(gaps) or gaps.max() <= 0:
            return None
        usual = float(np.sort(gaps)[(len(gaps) - 1) // 2])
        running = gaps[gaps <= max(PAUSE, 20 * usual)]
        return float(self.rows_done / self.done * len(running) / max(running.sum(), 1e-9))

    @property
    def left(self) -> float | None:
        """Seconds that the missing rows take at this rate."""
        return (self.rows - self.rows_done) / self.rate if self.rate else None

    def add(self, listed: Listed, part: Part) -> None:
        """Count a part that is done."""
        self.done += 1
        self.rows_done += len(part)
        self.times.append(listed.changed_ns)


def status(job: Job, store: Store) -> Status:
    """Read the names and the ends of all files of a folder.

    Args:
        job: the job of the folder.
        store: the folder.

    Raises:
        OSError: the folder cannot be read.
    """
    plan = Plan(job)
    found = Status(plan.count, job.n)

    def end(item: tuple[Listed, Part, str]) -> tuple[Facts | None, str | None]:
        listed, part, kind = item
        if kind != "part":
            return None, None
        with store.opened(listed.name) as file:
            return footer_of(file, part, job.bundle.sha256)

    for (listed, part, kind), (facts, problem) in in_order(end, files(plan, store)):
        if kind == "superseded":
            found.superseded.append(listed.name)
        elif kind == "foreign":
            found.foreign.append(listed.name)
        elif problem is not None or facts is None:
            found.damaged.append((listed.name, problem or "unreadable"))
        else:
            found.add(listed, part)
            found.machines[machine_text(facts.machine)] += 1
    return found


def files(plan: Plan, store: Store) -> Iterator[tuple[Listed, Part, str]]:
    """Yield the files whose names are those of parts, and whether they belong to the job.

    The last item is "part", "superseded" (a shorter part of an earlier `n`) or "foreign".
    """
    for listed in store.names():
        part = part_of_name(listed.name)
        if part is None:
            continue
        number, offset = divmod(part.first, plan.job.part_size)
        kind = "foreign"
        if part.digest == plan.job.digest and not offset and number < plan.count:
            expected = plan.part(number)
            kind = "part" if part == expected else "superseded"
            if part.end > expected.end:
                kind = "foreign"
        yield listed, part, kind
