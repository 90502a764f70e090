"""`ancestral doctor`: what is installed, which backends run here, and why not."""

import os
import platform
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from ancestral.cli.options import Json
from ancestral.cli.output import json_text, put, show, table
from ancestral.plans.gpus import gpus

_PACKAGES = (
    "ancestral",
    "numpy",
    "safetensors",
    "pydantic",
    "torch",
    "onnx",
    "onnxscript",
    "onnxruntime",
    "onnxruntime-gpu",
    "triton",
    "tensorrt",
    "tensorrt-cu13",
    "tensorrt-rtx-cu13",
    "scikit-learn",
    "matplotlib",
    "Pillow",
)
# Each in a process of its own: a runtime that crashes when it is loaded is a finding, no end.
_PROBES = {
    "torch": """
import json, torch
gpus = [f"cuda:{i}" for i in range(torch.cuda.device_count())]
print(json.dumps({"devices": ["cpu", *gpus], "version": torch.__version__, "oldest": None}))
""",
    "onnxruntime": """
import json, onnxruntime
from ancestral.engine.backends.onnxruntime import OLDEST
names = {"CPUExecutionProvider": "cpu", "CUDAExecutionProvider": "cuda"}
devices = [names[p] for p in onnxruntime.get_available_providers() if p in names]
print(json.dumps(
    {"devices": sorted(devices), "version": onnxruntime.__version__, "oldest": list(OLDEST)}
))
""",
    "triton": """
import json, torch, triton
from ancestral.engine.backends.triton import OLDEST
count = torch.cuda.device_count()
devices = [f"cuda:{i}" for i in range(count) if torch.cuda.get_device_capability(i) >= (8, 0)]
print(json.dumps({"devices": devices, "version": triton.__version__, "oldest": list(OLDEST)}))
""",
    "tensorrt": """
import json
from ancestral.engine.backends.tensorrt import survey
devices, version, told = survey()
print(json.dumps({"devices": devices, "version": version, "oldest": None, "told": told}))
""",
}
_SECONDS = 120


def doctor(json: Json = False) -> None:
    """Show what is installed, which backends run here, and what to install for the others."""
    document = diagnose()
    if json:
        put(json_text(document))
        return
    gpus = ", ".join(document["gpus"]) or "none found (nvidia-smi)"
    for name in ("python", "platform", "cpus"):
        put(f"{name:<10}{document[name]}")
    put(f"{'gpus':<10}{gpus}")
    packages = [(name, found or "-") for name, found in document["packages"].items()]
    backends = [
        (each["name"], "yes" if each["runs"] else "NO", ", ".join(each["devices"]), each["reason"])
        for each in document["backends"]
    ]
    show(
        table("Packages", ("package", "version"), packages),
        table("Backends", ("backend", "runs", "devices", "what to do"), backends),
    )


def diagnose() -> dict[str, Any]:
    """The findings in plain values: the JSON of `doctor`."""
    from ancestral.engine.backends import BACKENDS

    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpus": _cpus(),
        "gpus": [f"{gpu.name}, {gpu.target}, {gpu.memory}, driver {gpu.driver}" for gpu in gpus()],
        "packages": {name: _version(name) for name in _PACKAGES},
        "backends": [_backend(name) for name in BACKENDS],
    }


def _backend(name: str) -> dict[str, Any]:
    """Whether a backend runs, on which devices, and otherwise what to do."""
    import json

    from ancestral.engine.backends import INSTALL, missing

    verdict: dict[str, Any] = {"name": name, "runs": False, "devices": [], "reason": ""}
    install = {key: str(value) for key, value in INSTALL.items()}[name]
    if missing(name) is not None:
        return verdict | {"reason": f"not installed: {install}"}
    code, text = _probe(_PROBES[name])
    if code:
        return verdict | {"reason": f"installed, but does not load ({text}): {install}"}
    found = json.loads(text)
    if _older(found["version"], found["oldest"]):
        oldest = ".".join(map(str, found["oldest"]))
        reason = f"needs {oldest} or newer, got {found['version']}: pip install --upgrade {name}"
        return verdict | {"reason": reason}
    if not found["devices"]:
        needs = "needs a CUDA GPU of compute capability 8.0 (Ampere) or newer"
        return verdict | {"reason": found.get("told", needs)}
    return verdict | {"runs": True, "devices": found["devices"], "reason": found.get("told", "")}


def _older(version: str, oldest: list[int] | None) -> bool:
    return oldest is not None and [int(part) for part in version.split(".")[:2]] < oldest


def _probe(code: str) -> tuple[int, str]:
    """Run code in a new process: its exit status, and the last line it printed.

    By -P no module of the working folder is imported; it may be a stranger's.
    """
    try:
        result = subprocess.run(
            [sys.executable, "-P", "-c", code],
            capture_output=True,
            text=True,
            check=False,
            timeout=_SECONDS,
        )
    except subprocess.TimeoutExpired:
        return 1, f"no answer in {_SECONDS} s"
    lines = (result.stderr if result.returncode else result.stdout).strip().splitlines()
    return result.returncode, lines[-1] if lines else f"exit status {result.returncode}"


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _cpus() -> int:
    """Those that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
