"""Actors of a cluster: each loads an engine once, and then computes rows."""

from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import numpy as np

from ancestral.bulk.computed import batches, computed, load_engine, score_of
from ancestral.bulk.dataset_batch import DatasetBatch
from ancestral.bulk.job import Job
from ancestral.bulk.orders import Order
from ancestral.bulk.parts import Plan
from ancestral.bulk.process import opened
from ancestral.bulk.prompts import write_prompts
from ancestral.bulk.settings import SampleSettings
from ancestral.bulk.store import Store
from ancestral.bulk.table import INDEX


class SampleActor:
    """Draws rows of a job without a folder; for `map_batches` over ranges of rows."""

    def __init__(self, job: Job, order: Order) -> None:
        store = memory()
        if order.prompts:
            write_prompts(store, order.prompts)
        self._job = job
        self._rows = computed(job, load_engine(job, str(order.bundle)), store)

    def __call__(self, batch: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """Yield index and the columns of the rows first .. end - 1, batch by batch.

        Args:
            batch: the columns first and end, [1]; the first row is the first of a batch.
        """
        end = int(batch["end"][0])
        for begin in range(int(batch["first"][0]), end, self._job.rows):
            stop = min(begin + self._job.rows, end)
            (columns,) = batches(self._rows, begin, stop, self._job)
            yield {INDEX: np.arange(begin, stop), **columns}


class ScoreActor:
    """Adds the scores of a job without a folder to the batches of a dataset."""

    def __init__(self, job: Job, order: Order) -> None:
        assert not isinstance(order.settings, SampleSettings)
        self._settings = order.settings
        self._score = score_of(load_engine(job, str(order.bundle)), self._settings)

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Return the columns of a batch and its scores, as `DatasetBatch.scored` does."""
        return DatasetBatch(batch).scored(self._score, self._settings)


class PartActor:
    """Finishes parts of a job.

    It is opened by a call: the error of a call has its class, which that of a constructor lacks.
    """

    def open(self, start: dict[str, Any]) -> None:
        """Open the folder, the job and the engine, as `opened` does."""
        self._worker = opened(start)

    def finish(self, number: int) -> bool:
        """Finish a part by its number, as `Worker.finish` does."""
        return self._worker.finish(Plan(self._worker.job).part(number))


def memory() -> Store:
    """Return a new folder in the memory of this process, for the job of a dataset."""
    return Store.open(f"memory://{uuid4().hex}")
