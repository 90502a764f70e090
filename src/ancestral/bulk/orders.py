"""What a user asks for: the settings of a job, its bundle and data, and how to run it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ancestral.bulk.settings import Settings

PART_SIZE = 4096
"""Default number of rows of a part, before it is rounded up to whole batches."""


@dataclass(frozen=True, slots=True)
class Order:
    """A job as a user gives it. What is None is chosen when the job is made, and then kept.

    Attributes:
        settings: kind of work and its settings. If there are prompts, their hash is that of
            `prompts.prompts_content`.
        bundle: folder of the bundle.
        n: number of samples; None for a job over data, which has a row for each row of the data.
        data: files of data, in the order of their rows.
        prompts: ids of each prompt.
        backend: name of the backend.
        device: "cpu", "cuda" or "cuda:N".
        threads: CPU threads of each process.
        dtype: type that `triton` computes in.
        batch_invariant: whether `triton` uses our own matrix product.
        batch: rows of a batch; None measures it.
        part_size: rows of a part, rounded up to whole batches.
        workers: number of processes, which share the CPUs if `threads` is None.
    """

    settings: Settings
    bundle: Path
    n: int | None = None
    data: Sequence[str] = ()
    prompts: Sequence[Sequence[int]] = ()
    backend: str = "onnxruntime"
    device: str = "cpu"
    threads: int | None = None
    dtype: str | None = None
    batch_invariant: bool = False
    batch: int | None = None
    part_size: int | None = None
    workers: int = 1
