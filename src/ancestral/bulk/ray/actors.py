"""Actors of a cluster: each loads an engine once, and then computes rows."""

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
    """Draws the batches of a job without a folder; for `map_batches` over their numbers."""

    def __init__(self, job: Job, order: Order) -> None:
        store = memory()
        if order.prompts:
            write_prompts(store, order.prompts)
        self._job = job
        self._rows = computed(job, load_engine(job, str(order.bundle)), store)

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Return index and the columns of the batch whose number is in the column id, [1]."""
        first = int(batch["id"][0]) * self._job.rows
        end = min(first + self._job.rows, self._job.n)
        (columns,) = batches(self._rows, first, end, self._job)
        return {INDEX: np.arange(first, end), **columns}


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
