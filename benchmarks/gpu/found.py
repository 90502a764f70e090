"""What machine this is, in the words of its own tools; and what it lacks."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from importlib.util import find_spec

from benchmarks.machine import Machine, this_machine

CHECKS = "checks"
NEEDED: Mapping[str, str] = {
    "onnx": "Engine.verify of the models that are stepped, and plans",
    "onnxscript": "Engine.verify of the models that are stepped, and plans",
    "triton": "every part but the ceilings and tensorrt",
    "pytest": "the checks",
    "hypothesis": "the checks that draw their sizes at random",
    "xdist": "checks in several processes",
    "beartype": "types and shapes within the checks",
}
"""Packages beside PyTorch, by the name that is imported, and what there is not without them."""


def find() -> Machine:
    """The machine that runs this, and the first GPU that PyTorch sees."""
    import torch

    machine = this_machine()
    gpu = torch.cuda.get_device_name(0) if torch.cuda.is_available() else None
    versions = {"torch": torch.__version__, "cuda": torch.version.cuda or "none"}
    return replace(machine, gpu=gpu, versions=machine.versions | versions)


def line(machine: Machine) -> str:
    """GPU, driver and versions in one line."""
    names = ("driver", "torch", "cuda", "triton", "python")
    driver, torch, cuda, triton, python = (machine.versions.get(each, "none") for each in names)
    gpu = f"{machine.gpu}, driver {driver}" if machine.gpu else "no CUDA GPU"
    return f"{gpu}; torch {torch} for CUDA {cuda}, triton {triton}, Python {python}"


def missing() -> Iterator[tuple[str, str]]:
    """What there is not for want of a package, and why."""
    for name, what in NEEDED.items():
        if not has(name):
            yield what, f"{name} is not installed"


def has(*packages: str) -> bool:
    """Whether all of them can be imported."""
    return all(find_spec(package) is not None for package in packages)


def able(part: str) -> bool:
    """Whether there are the packages that a part needs."""
    if part == CHECKS:
        return has("pytest")
    return part in {"ceilings", "tensorrt"} or has("triton")
