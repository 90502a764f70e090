"""Where a number was measured: processor, memory, system, versions; never the machine's name."""

import os
import platform
import shutil
import subprocess
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

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
        versions: of Python and of the packages that are installed.
    """

    processor: str
    cores: int
    instructions: tuple[str, ...]
    memory_gb: float
    gpu: str | None
    system: str
    versions: dict[str, str]

    @property
    def name(self) -> str:
        """Processor, cores and GPU in a few words: rows of one name are compared."""
        return f"{self.processor}, {self.cores} cores" + (f", {self.gpu}" if self.gpu else "")


def this_machine() -> Machine:
    """The machine that runs this."""
    return Machine(
        processor=_cpuinfo("model name") or platform.processor() or platform.machine(),
        cores=_cores(),
        instructions=_instructions(),
        memory_gb=round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
        gpu=_gpu(),
        system=f"{platform.system()} {platform.machine()}",
        versions=_versions(),
    )


def _cores() -> int:
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def _instructions() -> tuple[str, ...]:
    flags = (_cpuinfo("flags") or _cpuinfo("Features") or "").split()
    return tuple(name for name in _INSTRUCTIONS if name in flags)


def _cpuinfo(field: str) -> str | None:
    """First value of a field of /proc/cpuinfo; None where there is none (macOS)."""
    file = Path("/proc/cpuinfo")
    for line in file.read_text().splitlines() if file.exists() else []:
        name, _, value = line.partition(":")
        if name.strip() == field:
            return value.strip()
    return None


def _gpu() -> str | None:
    command = shutil.which("nvidia-smi")
    if command is None:
        return None
    query = [command, "--query-gpu=name", "--format=csv,noheader"]
    done = subprocess.run(query, capture_output=True, text=True, check=False)
    return done.stdout.strip().partition("\n")[0] or None if done.returncode == 0 else None


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
