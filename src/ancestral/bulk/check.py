"""Check a job: every part whole, each row once, one kind of machine, 1 % of the rows redrawn."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from ancestral.bulk.comparison import Redrawn, compare
from ancestral.bulk.computed import Computed, batches
from ancestral.bulk.draws import PromptDraws
from ancestral.bulk.job import Job
from ancestral.bulk.machine import machine, machine_text
from ancestral.bulk.parts import Part, Plan
from ancestral.bulk.status import files
from ancestral.bulk.store import Store
from ancestral.bulk.table import INDEX, Columns, read_part, values_of
from ancestral.engine import Engine
from ancestral.engine.arguments import Progress

SHARE = 0.01
"""Share of the batches that are computed again, at least one."""


@dataclass(slots=True)
class Check:
    """Result of a check.

    Attributes:
        parts: number of parts of the job.
        sound: number of parts that are whole and unaltered.
        damaged: name and problem of files that are not what their names say.
        superseded: names of shorter parts that a longer one replaces.
        foreign: names of parts of other jobs.
        machines: number of parts from each machine, by its description in one line.
        instructions: hashes of the sets of instructions of the machines.
        redrawn: rows that were computed again.
    """

    parts: int
    sound: int = 0
    damaged: list[tuple[str, str]] = field(default_factory=list)
    superseded: list[str] = field(default_factory=list)
    foreign: list[str] = field(default_factory=list)
    machines: Counter[str] = field(default_factory=Counter)
    instructions: set[str] = field(default_factory=set)
    redrawn: Redrawn = field(default_factory=Redrawn)

    @property
    def missing(self) -> int:
        """Number of parts without a sound file."""
        return self.parts - self.sound

    @property
    def failures(self) -> list[str]:
        """What is wrong, in one line each; empty for a job that is complete and right."""
        found = [f"{name}: {problem}" for name, problem in self.damaged]
        if self.missing:
            found.append(f"{self.missing} of {self.parts} parts are missing or damaged")
        if self.redrawn.wrong:
            found.append(
                f"{self.redrawn.wrong} of {self.redrawn.rows} rows differ from what this machine "
                f"computes"
            )
        return found

    @property
    def passed(self) -> bool:
        """Whether nothing is wrong."""
        return not self.failures


def check(
    job: Job,
    store: Store,
    engine: Engine,
    rows: Computed,
    share: float = SHARE,
    progress: Progress | None = None,
) -> Check:
    """Read all parts of a job, and compute a share of its batches again.

    Which batches are computed again depends on the job and the share only. Rows from a machine of
    this type, with these versions and threads, have to be equal in bits; others have to be equal
    except at near ties, with log-probabilities within the parity table.

    Args:
        job: the job of the folder.
        store: the folder.
        engine: the engine of the job.
        rows: its rows.
        share: share of the batches that are computed again.
        progress: called as `progress(done, total)`, in parts.

    Raises:
        OSError: the folder cannot be read.
        BundleError: the bundle has changed.
    """
    plan = Plan(job)
    found, own = Check(plan.count), machine(job)
    for listed, part, kind in files(plan, store):
        if kind != "part":
            (found.superseded if kind == "superseded" else found.foreign).append(listed.name)
            continue
        content = store.read(listed.name)
        table, facts, problem = read_part(content or b"", part, job.bundle.sha256)
        if table is None or facts is None:
            found.damaged.append((listed.name, problem or "unreadable"))
            continue
        found.sound += 1
        found.machines[machine_text(facts.machine)] += 1
        found.instructions.add(str(facts.machine.get("instructions_sha256")))
        for first, end in _chosen(job, part, share):
            again = batches(rows, first, end, job)[0]
            some = table.slice(first - part.first, end - first)
            compare(
                engine,
                job.settings,
                rows.prompts if isinstance(rows, PromptDraws) else (),
                (some[INDEX].to_numpy(), columns_of(some), again),
                exact=facts.machine == own,
                counts=found.redrawn,
            )
        if progress is not None:
            progress(found.sound, plan.count)
    return found


def columns_of(table: pa.Table) -> Columns:
    """Return the columns of a table, except the index, as they were computed."""
    found: Columns = {}
    for name in table.column_names[1:]:
        kind = table.schema.field(name).type
        if pa.types.is_list(kind) or pa.types.is_string(kind):
            found[name] = [_item(each) for each in table[name].to_pylist()]
        else:
            found[name] = values_of(table, name)
    return found


def _item(value: Any) -> Any:
    return value if isinstance(value, str) else np.array(value, np.int64)


def _chosen(job: Job, part: Part, share: float) -> list[tuple[int, int]]:
    """Return the rows of the batches of a part that are computed again."""
    firsts = range(part.first, part.end, job.rows)
    random = np.random.default_rng([int(part.digest, 16), part.first])
    drawn = random.random(len(firsts)) < share
    if part.first == 0 and share > 0:
        drawn[random.integers(len(firsts))] = True
    chosen = (first for first, taken in zip(firsts, drawn, strict=True) if taken)
    return [(first, min(first + job.rows, part.end)) for first in chosen]
