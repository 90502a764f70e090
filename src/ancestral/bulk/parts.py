"""Parts of a job: ranges of its rows, the names of their files, and the shards that share them."""

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from ancestral.bulk.job import Job
from ancestral.decimals import decimal
from ancestral.errors import InvalidInput
from ancestral.excerpts import quoted

_NAME = re.compile(
    r"part-(?P<first>\d{12,19})-(?P<end>\d{12,19})-(?P<digest>[0-9a-f]{12})\.parquet"
)
ENVIRONMENT = "env"


@dataclass(frozen=True, slots=True)
class Part:
    """Consecutive rows of a job, in one file.

    Attributes:
        first: index of the first row.
        end: index after the last row.
        digest: digest of the job.
    """

    first: int
    end: int
    digest: str

    @property
    def name(self) -> str:
        """Name of the file."""
        return f"part-{self.first:012d}-{self.end:012d}-{self.digest}.parquet"

    def __len__(self) -> int:
        return self.end - self.first


def part_of_name(name: str) -> Part | None:
    """Return the part that a file's name describes; None for any other name.

    >>> part_of_name("part-000000000000-000000000064-0123456789ab.parquet")
    Part(first=0, end=64, digest='0123456789ab')
    """
    match = _NAME.fullmatch(name)
    if match is None:
        return None
    part = Part(int(match["first"]), int(match["end"]), match["digest"])
    return part if part.name == name and part.first < part.end else None


@dataclass(frozen=True, slots=True)
class Shard:
    """The parts whose number is `index` modulo `count`.

    Attributes:
        index: number of the shard, from 0.
        count: number of shards.
    """

    index: int = 0
    count: int = 1

    @classmethod
    def parse(cls, text: str, environment: Mapping[str, str] = os.environ) -> "Shard":
        """Return the shard of an option: "i/n", "env", or "env/n".

        "env" reads the index and the count that Slurm gives to the tasks of a job array and of a
        step; Kubernetes gives only the index, so that "env/n" has the count.

        >>> Shard.parse("3/8"), Shard.parse("env/8", {"JOB_COMPLETION_INDEX": "2"})
        (Shard(index=3, count=8), Shard(index=2, count=8))

        Raises:
            InvalidInput: the text has another form, the index is not less than the count, or the
                environment has no index.
        """
        left, _, right = text.partition("/")
        count, index = decimal(right), decimal(left)
        found = None
        if left == ENVIRONMENT:
            found = _of_environment(environment, count)
        elif index is not None and count is not None:
            found = cls(index, count)
        if found is None or not 0 <= found.index < found.count:
            raise InvalidInput(
                f"--shard: expected i/n with 0 <= i < n, env or env/n, got {quoted(text)}"
            )
        return found

    def numbers(self, parts: int) -> range:
        """Return the numbers of this shard's parts, of so many parts in all."""
        return range(self.index, parts, self.count)


WHOLE = Shard()
"""The shard of a process that does all parts."""


def _of_environment(environment: Mapping[str, str], count: int | None) -> Shard:
    """Return the shard of this task of Slurm or Kubernetes.

    Raises:
        InvalidInput: the environment has no index, or no count and none is given.
    """
    slurm = _of_slurm({name: decimal(text) for name, text in environment.items()})
    if slurm is not None:
        if count not in {None, slurm.count}:
            raise InvalidInput(
                f"--shard: expected {slurm.count} shards, as Slurm gives, got {count}"
            )
        return slurm
    completion = decimal(environment.get("JOB_COMPLETION_INDEX", ""))
    if completion is None:
        raise InvalidInput(
            "--shard env: expected SLURM_ARRAY_TASK_ID, SLURM_PROCID or JOB_COMPLETION_INDEX in "
            "the environment; give --shard i/n"
        )
    if count is None:
        raise InvalidInput(
            "--shard env: expected the number of shards, which Kubernetes does not give; write "
            "--shard env/n"
        )
    return Shard(completion, count)


def _of_slurm(numbers: Mapping[str, int | None]) -> Shard | None:
    """Return the shard of a task of a step, of an array, or of a step of an array; else None."""
    index, count, found = 0, 1, False
    task, tasks = (numbers.get(f"SLURM_ARRAY_TASK_{name}") for name in ("ID", "COUNT"))
    if task is not None and tasks is not None:
        least = numbers.get("SLURM_ARRAY_TASK_MIN") or 0
        step = numbers.get("SLURM_ARRAY_TASK_STEP") or 1
        index, count, found = (task - least) // step, tasks, True
    process, processes = (numbers.get(f"SLURM_{name}") for name in ("PROCID", "NTASKS"))
    if process is not None and processes is not None:
        index, count, found = index * processes + process, count * processes, True
    return Shard(index, count) if found else None


@dataclass(frozen=True, slots=True)
class Plan:
    """The parts of a job; none is made before it is needed.

    Attributes:
        job: the job.
    """

    job: Job

    def part(self, number: int) -> Part:
        """Return a part by its number, from 0."""
        first = number * self.job.part_size
        return Part(first, min(first + self.job.part_size, self.job.n), self.job.digest)

    def of_shard(self, shard: Shard) -> Iterator[Part]:
        """Yield the parts of a shard in order."""
        return map(self.part, shard.numbers(self.count))

    @property
    def count(self) -> int:
        """Number of parts."""
        return -(-self.job.n // self.job.part_size)

    def rows_of(self, shard: Shard) -> int:
        """Return the number of rows of a shard."""
        numbers = shard.numbers(self.count)
        if not len(numbers):
            return 0
        last = self.part(numbers[-1])
        return (len(numbers) - 1) * self.job.part_size + len(last)

    def superseded(self, part: Part) -> list[Part]:
        """Return the shorter parts with the same first row that an earlier `n` may have left."""
        digest = self.job.digest
        ends = (end for end in self.job.earlier if part.first < end < part.end)
        return [Part(part.first, end, digest) for end in ends]
