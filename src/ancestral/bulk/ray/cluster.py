"""What a job takes of a cluster: paths that all machines have, CPUs and GPUs."""

import os
from dataclasses import replace
from pathlib import Path

import ray

from ancestral.bulk.job import Job
from ancestral.bulk.orders import Order
from ancestral.processor import physical_cores


def absolute(place: str) -> str:
    """Return a path as an absolute one, and a URL as it is."""
    return place if "://" in place else os.path.abspath(place)


def for_cluster(order: Order) -> Order:
    """Return an order with absolute paths, and with one thread if the number is left open.

    The cores of this machine say nothing about those of the others, and most models draw more rows
    with more actors than with more threads. A job that is found in a folder keeps its threads.
    """
    return replace(
        order,
        bundle=Path(absolute(str(order.bundle))),
        data=tuple(map(absolute, order.data)),
        # Each of so many processes has one core of this machine.
        workers=physical_cores(),
    )


def share(job: Job) -> dict[str, int]:
    """Return what each actor takes, as arguments of Ray: the CPUs of its threads, or a GPU."""
    if job.runtime.device == "cpu":
        return {"num_cpus": job.runtime.threads or 1}
    return {"num_gpus": 1}


def room(job: Job) -> int:
    """Return the number of actors that the machines of the cluster have room for, at least 1."""
    ((name, each),) = share(job).items()
    total = ray.cluster_resources().get(name.removeprefix("num_")[:-1].upper(), 0)
    return max(1, int(total // each))
