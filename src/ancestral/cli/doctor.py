"""`ancestral doctor`: what is installed, which backends run here, and why others do not."""

import json
import platform
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

from ancestral.cli.options import Json
from ancestral.cli.output import json_text, put, show, table
from ancestral.plans.gpus import gpus
from ancestral.processor import processor_name, usable_cpus

if TYPE_CHECKING:
    from ancestral.engine.backends.entry import Entry

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
_THREADS = ("bundle", "batch", "threads", "ms/step by threads")
_PROBE = """
import json, sys
from ancestral.engine.backends import probe
print(json.dumps(probe(sys.argv[1])._asdict()))
"""
"""Code of a separate process, so that a runtime that crashes on loading is a finding."""
_SECONDS = 120
"""Time limit of the probe of a backend, in seconds."""


def doctor(json: Json = False) -> None:
    """Show which backends run on this machine.

    Lists the installed packages, the GPUs and the backends, with what to do for each backend that
    does not run, and the numbers of threads that `--threads measure` found here.
    """
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
    threads = [
        (each["bundle"][:12], f"{each['batch']}", f"{each['threads']}", _times(each["step_ms"]))
        for each in document["threads"]
    ]
    show(
        table("Packages", ("package", "version"), packages),
        table("Backends", ("backend", "runs", "devices", "what to do"), backends),
        *([table("Measured threads", _THREADS, threads)] if threads else []),
    )


def diagnose() -> dict[str, Any]:
    """Return the findings as plain values: the JSON of `doctor`."""
    from ancestral.engine.backends import BACKENDS

    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpus": usable_cpus(),
        "gpus": [f"{gpu.name}, {gpu.target}, {gpu.memory}, driver {gpu.driver}" for gpu in gpus()],
        "packages": {name: _version(name) for name in _PACKAGES},
        "threads": _measured_threads(),
        "backends": [_backend(entry) for entry in BACKENDS.values()],
    }


def _measured_threads() -> list[dict[str, Any]]:
    """Return the numbers of threads that were measured on such a processor, the latest first."""
    from ancestral.engine.thread_choice import ThreadStore

    choices, name = ThreadStore.of_user().choices(), processor_name()
    return [choice.to_json() for choice in choices if choice.key.processor == name]


def _times(step_ms: dict[str, float]) -> str:
    return ", ".join(f"{count}: {time:.3f}" for count, time in step_ms.items())


def _backend(entry: "Entry") -> dict[str, Any]:
    """Return whether a backend runs, on which devices, and otherwise what to do."""
    verdict: dict[str, Any] = {"name": entry.name, "runs": False, "devices": [], "reason": ""}
    if entry.missing is not None:
        return verdict | {"reason": f"not installed: {entry.install}"}
    code, text = _probe(_PROBE, entry.name)
    if code:
        return verdict | {"reason": f"installed but does not load ({text}): {entry.install}"}
    found = json.loads(text)
    devices, reason = found["devices"], found["remark"]
    return verdict | {"runs": bool(devices), "devices": devices, "reason": reason}


def _probe(code: str, *words: str) -> tuple[int, str]:
    """Run code in a new process; return its exit status and the last line that it printed.

    -P keeps Python from importing modules of the working folder, which may be untrusted.
    """
    try:
        result = subprocess.run(
            [sys.executable, "-P", "-c", code, *words],
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
