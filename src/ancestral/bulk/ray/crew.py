"""A job whose parts are finished by the actors of a Ray cluster.

Parts are given out here, rather than by a Dataset or by Ray's own retries: a call of an actor that
is lost would wait until Ray has restarted the actor, for which there may never be room again.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import ray
from ray.exceptions import RayError, RayTaskError

from ancestral.bulk.job import Job
from ancestral.bulk.make import make_job
from ancestral.bulk.orders import Order
from ancestral.bulk.parts import Plan
from ancestral.bulk.ray.actors import PartActor
from ancestral.bulk.ray.cluster import absolute, for_cluster, room, share
from ancestral.bulk.store import Store
from ancestral.bulk.work import Report
from ancestral.bulk.workers import WorkerFailed
from ancestral.errors import AncestralError, InvalidInput

_PAUSE = 1.0
"""Seconds after which the cluster is looked at again, which may have grown."""


def run(
    order: Order,
    out: str,
    report: Report | None = None,
    actors: int | None = None,
    retries: int = 3,
) -> Job:
    """Make or continue a job, and finish its parts by actors, each with one part at a time.

    A part whose actor or machine is lost goes to another actor. Actors that have no room in the
    cluster wait for it, which makes an autoscaler of Ray add machines.

    Args:
        order: what is asked for. `threads` None means 1, or as in the folder.
        out: folder that all machines share, or URL of an object store.
        report: function that is called after each part, as in `work`.
        actors: number of actors; None for as many as have room, also while the cluster grows.
        retries: times that a part is computed again because its actor was lost.

    Raises:
        InvalidInput: an argument is invalid, the folder has another job, or a row is refused.
        WorkerFailed: the actors of a part were lost more often than `retries`.
        AncestralError: as in `work`.
        OSError: as in `work`.
    """
    store = Store.open(out)
    if store.private:
        raise InvalidInput(f"out: expected a folder that other processes see, got {store.label}")
    order = for_cluster(order)
    job = make_job(order, store)
    if not ray.is_initialized():
        ray.init()
    plan = Plan(job)
    start = {"out": absolute(out), "bundle": str(order.bundle), "data": list(order.data)}
    crew = _Crew(ray.remote(**share(job))(PartActor), start, plan, retries)
    left = plan.count
    try:
        while left:
            crew.grow(min(left, actors or room(job)))
            for number, new in crew.finished():
                left -= 1
                if report is not None:
                    report(plan.part(number), new)
    except (AncestralError, OSError):
        crew.wait()
        raise
    finally:
        crew.end()
    return job


@dataclass(slots=True)
class _Crew:
    """The actors of a job, and the parts that they have.

    Attributes:
        kind: class of the actors, as Ray has it.
        start: what an actor opens.
        plan: the parts.
        retries: times that a part is given out again.
    """

    kind: Any
    start: dict[str, Any]
    plan: Plan
    retries: int
    _size: int = 0
    _given: Iterator[int] = field(init=False)
    _again: list[int] = field(default_factory=list)
    _lost: Counter[int | None] = field(default_factory=Counter)
    _calls: dict[Any, tuple[Any, int | None]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._given = iter(range(self.plan.count))

    def grow(self, size: int) -> None:
        """Start actors until there are so many. Each opens the job before it gets a part."""
        self._size = size
        for _ in range(size - len(self._calls)):
            actor = self.kind.remote()
            self._calls[actor.open.remote(self.start)] = (actor, None)

    def finished(self) -> Iterator[tuple[int, bool]]:
        """Wait for a call, and yield the number of its part and whether that was computed.

        Raises:
            WorkerFailed: too many actors were lost.
            AncestralError: what an actor raised.
            OSError: what an actor raised.
        """
        for call in ray.wait(list(self._calls), timeout=_PAUSE)[0]:
            actor, number = self._calls.pop(call)
            try:
                new = ray.get(call)
            except RayTaskError as error:
                ray.kill(actor)
                if isinstance(error.cause, AncestralError | OSError):
                    raise error.cause from None
                raise
            except RayError as error:
                self._give_back(number, type(error).__name__)
                continue
            self._lost.pop(number, None)
            self._give(actor)
            if number is not None:
                yield number, new

    def wait(self) -> None:
        """Wait until no actor has a part."""
        busy = [call for call, (_, number) in self._calls.items() if number is not None]
        if busy:
            ray.wait(busy, num_returns=len(busy))

    def end(self) -> None:
        """End all actors; a part that one of them computes is dropped."""
        for actor, _ in self._calls.values():
            ray.kill(actor)

    def _give(self, actor: Any) -> None:
        """Give the next part to an actor, or end the actor if there is none."""
        number = self._again.pop() if self._again else next(self._given, None)
        if number is None:
            ray.kill(actor)
        else:
            self._calls[actor.finish.remote(number)] = (actor, number)

    def _give_back(self, number: int | None, how: str) -> None:
        """Note that an actor was lost; another one will do its part.

        Raises:
            WorkerFailed: too many were lost with this part, or before they had opened the job.
        """
        self._lost[number] += 1
        if number is not None:
            self._again.append(number)
        if self._lost[number] > self.retries * (self._size if number is None else 1):
            what = "the bundle" if number is None else self.plan.part(number).name
            raise WorkerFailed(
                f"{what}: {self._lost[number]} actors were lost with it, the last by {how}; look "
                f"into Ray's logs, give actors more memory, and run again"
            )
