"""The processor that this process runs on: its name, and the cores that the process may use."""

import os
import platform
from collections.abc import Iterator
from pathlib import Path

_CPUINFO = Path("/proc/cpuinfo")


def processor_name() -> str:
    """Return the model name of the processor; without /proc/cpuinfo, what Python calls it."""
    named = (fields.get("model name", "") for fields in _described())
    return next(filter(None, named), "") or platform.processor() or platform.machine()


def instructions() -> frozenset[str]:
    """Return the names of the processor's instruction sets; empty if the system lists none."""
    for fields in _described():
        return frozenset((fields.get("flags") or fields.get("Features") or "").split())
    return frozenset()


def usable_cpus() -> int:
    """Return the number of CPUs that this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def physical_cores() -> int:
    """Return the number of cores that this process may use; two CPUs may share a core.

    Where the system does not say which CPUs share one, it is the number of CPUs.
    """
    affinity = getattr(os, "sched_getaffinity", None)
    if affinity is None:
        return usable_cpus()
    usable = {str(cpu) for cpu in affinity(0)}
    here = [fields for fields in _described() if fields.get("processor") in usable]
    cores = {(fields.get("physical id"), fields.get("core id")) for fields in here}
    known = len(here) == len(usable) and all(core is not None for _, core in cores)
    return len(cores) if known else len(usable)


def _described() -> Iterator[dict[str, str]]:
    """Yield the fields that the system lists of each CPU; nothing on other systems than Linux."""
    try:
        text = _CPUINFO.read_text()
    except OSError:
        return
    for part in text.strip().split("\n\n"):
        lines = (line.partition(":") for line in part.splitlines())
        yield {name.strip(): value.strip() for name, _, value in lines}
