"""Where a number was measured: processor, memory, system, versions; never the machine's name."""

import os
import platform
import shutil
import subprocess
from contextlib import suppress
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[1]
PACKAGES = ("numpy", "onnxruntime", "onnxruntime-gpu", "torch", "triton")
_INSTRUCTIONS = ("avx2", "avx512f", "amx_tile", "asimd", "sve")


@dataclass(frozen=True, slots=True)
class Machine:
    """A machine as it matters to speed.

    Attributes:
        processor: model name.
        cores: that this process may use.
        instructions: vector instruction sets, of those that the runtimes have kernels for.
        memory_gb: of the machine, in 10^9 bytes.
        gpu: name of the first GPU, or None.
        system: operating system and architecture.
        versions: of Python, of the packages that are installed, and of a GPU's driver.
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
        """GPU, driver and versions in one line."""
        names = ("driver", "torch", "cuda", "triton", "python")
        driver, torch, cuda, triton, python = (self.versions.get(each, "none") for each in names)
        gpu = f"{self.gpu}, driver {driver}" if self.gpu else "no CUDA GPU"
        return f"{gpu}; torch {torch} for CUDA {cuda}, triton {triton}, Python {python}"

    @property
    def name(self) -> str:
        """Processor, cores and GPU in a few words: rows of one name are compared."""
        return f"{self.processor}, {self.cores} cores" + (f", {self.gpu}" if self.gpu else "")


def this_machine() -> Machine:
    """The machine that runs this."""
    affinity = getattr(os, "sched_getaffinity", None)
    flags = (_cpuinfo("flags") or _cpuinfo("Features") or "").split()
    gpu, _, driver = _printed("nvidia-smi", *_GPU_QUERY).partition("\n")[0].rpartition(", ")
    return Machine(
        processor=_cpuinfo("model name") or platform.processor() or platform.machine(),
        cores=len(affinity(0)) if affinity else os.cpu_count() or 1,
        instructions=tuple(name for name in _INSTRUCTIONS if name in flags),
        memory_gb=round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
        gpu=gpu or None,
        system=f"{platform.system()} {platform.machine()}",
        versions=_versions() | ({"driver": driver} if driver else {}),
    )


def machine_of_torch() -> Machine:
    """The machine that runs this, and the first GPU that PyTorch sees."""
    import torch

    machine = this_machine()
    gpu = torch.cuda.get_device_name(0) if torch.cuda.is_available() else None
    versions = {"torch": torch.__version__, "cuda": torch.version.cuda or "none"}
    return replace(machine, gpu=gpu, versions=machine.versions | versions)


_GPU_QUERY = ("--query-gpu=name,driver_version", "--format=csv,noheader")


def commit() -> str:
    """The commit of the checkout, "+" behind it where files differ; "unknown" without git."""
    git = ("git", "-C", str(CHECKOUT))
    head = _printed(*git, "rev-parse", "--short=12", "HEAD")
    changed = _printed(*git, "status", "--porcelain", "--untracked-files=no")
    return head + ("+" if changed else "") if head else "unknown"


def environment(**more: str) -> dict[str, str]:
    """The environment of a process that imports from this checkout, and more variables."""
    paths = [str(CHECKOUT / "src"), str(CHECKOUT), os.environ.get("PYTHONPATH", "")]
    return os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths))} | more


def _printed(*command: str) -> str:
    """What a command prints; nothing where it fails, or there is none of that name."""
    if shutil.which(command[0]) is None:
        return ""
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    return done.stdout.strip() if done.returncode == 0 else ""


def _cpuinfo(field: str) -> str | None:
    """First value of a field of /proc/cpuinfo; None where there is none (macOS)."""
    file = Path("/proc/cpuinfo")
    for line in file.read_text().splitlines() if file.exists() else []:
        name, _, value = line.partition(":")
        if name.strip() == field:
            return value.strip()
    return None


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found
