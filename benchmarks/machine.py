"""The machine of a measurement: processor, memory, system, versions; never its host name."""

import os
import platform
import shutil
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from ancestral.processor import instructions, processor_name, usable_cpus

CHECKOUT = Path(__file__).resolve().parents[1]
PACKAGES = ("numpy", "onnxruntime", "onnxruntime-gpu", "torch", "triton")
_INSTRUCTIONS = ("avx2", "avx512f", "amx_tile", "asimd", "sve")


@dataclass(frozen=True, slots=True)
class Machine:
    """The properties of a machine that matter to speed.

    Attributes:
        processor: model name.
        cores: number of cores that this process may use.
        instructions: vector instruction sets for which the runtimes have kernels.
        memory_gb: memory of the machine, in 10^9 bytes.
        gpu: name of the first GPU, or None.
        system: operating system and architecture.
        versions: versions of Python, of installed packages, and of the GPU's driver.
    """

    processor: str
    cores: int
    instructions: tuple[str, ...]
    memory_gb: float
    gpu: str | None
    system: str
    versions: dict[str, str]

    @property
    def line(self) -> str:
        """The GPU, its driver and the versions, in one line."""
        names = ("driver", "torch", "cuda", "triton", "python")
        driver, torch, cuda, triton, python = (self.versions.get(each, "none") for each in names)
        gpu = f"{self.gpu}, driver {driver}" if self.gpu else "no CUDA GPU"
        return f"{gpu}; torch {torch} for CUDA {cuda}, triton {triton}, Python {python}"

    @property
    def name(self) -> str:
        """The processor, cores and GPU in a few words; rows with the same name are comparable."""
        return f"{self.processor}, {self.cores} cores" + (f", {self.gpu}" if self.gpu else "")


def this_machine() -> Machine:
    """Return the machine that runs this process."""
    flags = instructions()
    gpu, _, driver = _printed("nvidia-smi", *_GPU_QUERY).partition("\n")[0].rpartition(", ")
    return Machine(
        processor=processor_name(),
        cores=usable_cpus(),
        instructions=tuple(name for name in _INSTRUCTIONS if name in flags),
        memory_gb=round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
        gpu=gpu or None,
        system=f"{platform.system()} {platform.machine()}",
        versions=_versions() | ({"driver": driver} if driver else {}),
    )


def machine_of_torch() -> Machine:
    """Return the machine that runs this process, with the first GPU that PyTorch sees."""
    import torch

    machine = this_machine()
    gpu = torch.cuda.get_device_name(0) if torch.cuda.is_available() else None
    versions = {"torch": torch.__version__, "cuda": torch.version.cuda or "none"}
    return replace(machine, gpu=gpu, versions=machine.versions | versions)


_GPU_QUERY = ("--query-gpu=name,driver_version", "--format=csv,noheader")


def commit() -> str:
    """Return the commit of the checkout, with "+" if files differ; "unknown" without git."""
    git = ("git", "-C", str(CHECKOUT))
    head = _printed(*git, "rev-parse", "--short=12", "HEAD")
    changed = _printed(*git, "status", "--porcelain", "--untracked-files=no")
    return head + ("+" if changed else "") if head else "unknown"


def environment(**more: str) -> dict[str, str]:
    """Return the environment of a process that imports from this checkout, plus more variables."""
    paths = [str(CHECKOUT / "src"), str(CHECKOUT), os.environ.get("PYTHONPATH", "")]
    return os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths))} | more


def load_average(machine: Machine) -> float:
    """Return the load average of the last minute; say so on standard error if it is high."""
    load = round(os.getloadavg()[0], 2)
    if load > machine.cores / 2:
        print(f"load average {load}: other programs run too", file=sys.stderr)
    return load


def _printed(*command: str) -> str:
    """Return what a command prints; "" if it fails or does not exist."""
    if shutil.which(command[0]) is None:
        return ""
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    return done.stdout.strip() if done.returncode == 0 else ""


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found
