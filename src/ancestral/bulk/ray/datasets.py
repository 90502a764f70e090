"""Ray Datasets of samples, and with scores."""

from dataclasses import replace
from typing import Any

import ray

from ancestral.bulk.job import Job
from ancestral.bulk.make import make_job
from ancestral.bulk.orders import Order
from ancestral.bulk.parts import Plan
from ancestral.bulk.ray.actors import SampleActor, ScoreActor, memory
from ancestral.bulk.ray.cluster import for_cluster, share
from ancestral.bulk.settings import SampleSettings
from ancestral.errors import InvalidInput

BATCH = 64
"""Default number of rows of a batch of `score`."""
_TASKS = 4096
"""Most tasks of a Dataset of samples, as each takes a millisecond of the driver."""


def sample(order: Order, actors: int | None = None) -> "ray.data.Dataset":
    """Return the samples of an order as a Dataset, with the columns of a bulk job.

    Args:
        order: what to draw. `threads` None means 1; a task draws `part_size` rows, or a multiple.
        actors: most actors, each with the CPUs of its threads or a GPU; None lets Ray choose.

    Raises:
        InvalidInput: an argument is invalid, or the order is for scores.
        BundleError: the bundle is missing or damaged.
        BackendUnavailable: the backend cannot run here.
    """
    if not isinstance(order.settings, SampleSettings):
        raise InvalidInput(f"order: expected samples, got {order.settings.kind}; call score")
    order = for_cluster(order)
    job = make_job(order, memory())
    # Not `ray.data.range`, whose tasks would need CPUs that actors have taken.
    size = job.part_size * max(1, -(-Plan(job).count // _TASKS))
    firsts = range(0, max(job.n, 1), size)
    tasks = [{"first": first, "end": min(first + size, job.n)} for first in firsts]
    ranges = ray.data.from_items(tasks, override_num_blocks=len(tasks))
    return _mapped(ranges, 1, SampleActor, (job, order), actors)


def score(
    dataset: "ray.data.Dataset", order: Order, actors: int | None = None
) -> "ray.data.Dataset":
    """Return a Dataset with the scores of its rows as further columns.

    Args:
        dataset: rows with x or text, perhaps with y (or label, labels). Bounds need the column
            index, by which their noise is chosen.
        order: settings, bundle and backend. `threads` None means 1, `batch` None means 64.
        actors: as in `sample`.

    Raises:
        InvalidInput: an argument is invalid, or the model is not of the kind that is needed.
        BundleError: the bundle is missing or damaged.
        BackendUnavailable: the backend cannot run here.
    """
    if isinstance(order.settings, SampleSettings):
        raise InvalidInput("order: expected scores, got samples; call sample")
    order = replace(for_cluster(order), n=0, data=(), batch=order.batch or BATCH)
    job = make_job(order, memory())
    return _mapped(dataset, job.rows, ScoreActor, (job, order), actors)


def _mapped(
    dataset: "ray.data.Dataset",
    rows: int,
    actor: type,
    given: tuple[Job, Order],
    actors: int | None,
) -> Any:
    """Return a Dataset whose batches of so many rows actors have computed."""
    return dataset.map_batches(
        actor,
        batch_size=rows,
        batch_format="numpy",
        fn_constructor_args=given,
        compute=ray.data.ActorPoolStrategy(min_size=1, max_size=actors),
        **share(given[0]),
    )
