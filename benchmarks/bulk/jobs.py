"""Jobs that are made and opened, for measurements."""

from dataclasses import dataclass
from typing import Self

from ancestral.bulk.computed import computed, load_engine
from ancestral.bulk.machine import machine
from ancestral.bulk.make import make_job
from ancestral.bulk.orders import Order
from ancestral.bulk.parts import Plan
from ancestral.bulk.store import Store
from ancestral.bulk.work import Worker, work
from ancestral.engine import Engine


@dataclass(frozen=True, slots=True)
class Opened:
    """A job with its engine, loaded.

    Attributes:
        engine: the engine.
        worker: the worker, which uses the engine.
    """

    engine: Engine
    worker: Worker

    @classmethod
    def of(cls, order: Order, folder: str) -> Self:
        """Make a job in a folder, and open it."""
        store = Store.open(folder)
        job = make_job(order, store)
        engine = load_engine(job)
        return cls(engine, Worker(job, store, computed(job, engine, store), machine(job)))

    def redo(self) -> None:
        """Compute and write all parts, which are deleted first."""
        plan = Plan(self.worker.job)
        parts = [plan.part(i) for i in range(plan.count)]
        for part in parts:
            self.worker.store.delete(part.name)
        work(self.worker, parts, lambda part, new: None)
