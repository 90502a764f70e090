"""A Ray cluster of several nodes on this machine, for tests."""

import contextlib
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_DATA_DISABLE_PROGRESS_BARS": "1",
    "RAY_enable_open_telemetry": "0",
    "RAY_SERVE_LOG_TO_STDERR": "0",
    "OMP_NUM_THREADS": "1",
    # Without it, Ray writes a token into the home folder.
    "RAY_AUTH_TOKEN": secrets.token_hex(32),
}
MEMORY = 100 * 2**20
"""Bytes of the object store of a node."""


@dataclass(frozen=True, slots=True)
class Nodes:
    """A cluster to which the driver is connected.

    Attributes:
        cluster: the cluster, as Ray's own tests use it.
    """

    cluster: Any

    def add(self, cpus: int = 1) -> Any:
        """Add a node."""
        return self.cluster.add_node(
            num_cpus=cpus, object_store_memory=MEMORY, include_dashboard=False
        )

    def remove(self, node: Any) -> None:
        """Remove a node as if its machine had failed: all its processes are killed."""
        self.cluster.remove_node(node, allow_graceful=False)


@contextlib.contextmanager
def started(nodes: int) -> Iterator[Nodes]:
    """Start a cluster: a head without CPUs, to which the driver connects, and nodes with one."""
    import ray
    from ray.cluster_utils import Cluster

    # A short path, as those of sockets must be.
    folder = tempfile.mkdtemp(prefix="ray-")
    head = {
        "num_cpus": 0,
        "object_store_memory": MEMORY,
        "include_dashboard": False,
        "temp_dir": folder,
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in ENVIRONMENT.items():
            patch.setenv(name, value)
        cluster = Cluster(initialize_head=True, head_node_args=head)
        try:
            found = Nodes(cluster)
            for _ in range(nodes):
                found.add()
            ray.init(address=cluster.address, log_to_driver=False, logging_level="ERROR")
            yield found
        finally:
            ray.shutdown()
            cluster.shutdown()
            shutil.rmtree(folder, ignore_errors=True)


def raylet(node: Any) -> int:
    """Return the process that starts the workers of a node."""
    return int(node.all_processes["raylet"][0].process.pid)


def actors(node: Any, name: str) -> list[int]:
    """Return the processes of a node's actors whose class has this name."""
    found = []
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        with contextlib.suppress(OSError):
            title = (folder / "cmdline").read_bytes()
            parent = (folder / "stat").read_text().rpartition(")")[2].split()[1]
            if title.startswith(f"ray::{name}".encode()) and int(parent) == raylet(node):
                found.append(int(folder.name))
    return found


def is_alive(process: int) -> bool:
    """Return whether a process exists and is not a zombie."""
    try:
        os.kill(process, 0)
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"
