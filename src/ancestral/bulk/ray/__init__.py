"""Bulk work on a Ray cluster: Datasets of samples and scores, and jobs whose parts actors write.

    sample(order) -> Dataset
    score(dataset, order) -> Dataset
    run(order, out) -> Job

Only `run` writes each row once. Ray may compute rows of a Dataset again after a failure, so what a
user writes from a Dataset may have rows twice; `index` is their key. All machines have the bundle,
and files of data, at the same path: on a file system that they share, or copied.
"""

from ancestral.errors import BackendUnavailable

try:
    import ray.data  # noqa: F401 - only to see whether it is installed
except ImportError as error:
    raise BackendUnavailable(
        "bulk work on Ray needs the ray package: pip install 'ancestral[ray]'"
    ) from error

from ancestral.bulk.ray.crew import run
from ancestral.bulk.ray.datasets import sample, score

__all__ = ["run", "sample", "score"]
