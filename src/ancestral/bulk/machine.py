"""The machine that computes rows: what their bits may depend on."""

import hashlib
import platform
from collections import defaultdict
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import ancestral
from ancestral.bulk.job import Job
from ancestral.processor import instructions, processor_name

_PACKAGES = ("numpy", "onnxruntime", "onnxruntime-gpu", "torch", "triton", "tensorrt-cu13")
_SETS = ("avx2", "avx512f", "avx512_vnni", "amx_tile", "neon", "asimd", "sve")
"""Instruction sets that numerical libraries choose by, to be shown."""


def versions() -> dict[str, str]:
    """Return the versions of the packages that compute rows."""
    found = {"ancestral": ancestral.__version__, "python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def machine(job: Job) -> dict[str, Any]:
    """Return the description of this machine that each part has.

    Two parts of one job with equal descriptions have equal bits where they have the same rows.
    """
    sets = instructions()
    return {
        "processor": processor_name(),
        "architecture": platform.machine(),
        "instructions": [name for name in _SETS if name in sets],
        "instructions_sha256": hashlib.sha256(" ".join(sorted(sets)).encode()).hexdigest()[:12],
        "system": platform.system(),
        "backend": job.runtime.backend,
        "device": job.runtime.device,
        "threads": job.runtime.threads,
        "versions": versions(),
    }


def machine_text(found: Mapping[str, Any]) -> str:
    """Return a description of a machine in one line; "?" for what a damaged file lacks."""
    known: defaultdict[str, Any] = defaultdict(lambda: "?", found)
    sets = known["instructions"]
    listed = " ".join(map(str, sets)) if isinstance(sets, list) else "?"
    packages = known["versions"]
    runtime = packages.get(known["backend"], "") if isinstance(packages, dict) else "?"
    return (
        f"{known['processor']} ({listed}), {known['backend']} {runtime} on {known['device']}, "
        f"threads: {known['threads'] or 'chosen by the runtime'}"
    )
