"""What machine this is, in the words of its own tools; and what it lacks."""

import platform
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec

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


@dataclass(frozen=True, slots=True)
class Found:
    """Hardware and software that a number depends on.

    Attributes:
        gpu: its name, or "none".
        driver: its version, or "none".
        cuda: what PyTorch was built for, or "none".
        torch: version.
        triton: version, or "none".
        python: version.
    """

    gpu: str
    driver: str
    cuda: str
    torch: str
    triton: str
    python: str

    @property
    def line(self) -> str:
        """All of it in one line."""
        gpu = f"{self.gpu}, driver {self.driver}" if self.has_gpu else "no CUDA GPU"
        return (
            f"{gpu}; torch {self.torch} for CUDA {self.cuda}, triton {self.triton}, "
            f"Python {self.python}"
        )

    @property
    def has_gpu(self) -> bool:
        """Whether PyTorch sees a CUDA GPU."""
        return self.gpu != "none"


def find() -> Found:
    """The machine that runs this, and its first GPU."""
    import torch

    present = torch.cuda.is_available()
    return Found(
        gpu=torch.cuda.get_device_name(0) if present else "none",
        driver=_driver() if present else "none",
        cuda=torch.version.cuda or "none",
        torch=torch.__version__,
        triton=_version("triton"),
        python=platform.python_version(),
    )


def missing() -> Iterator[tuple[str, str]]:
    """What there is not for want of a package, and why."""
    for name, what in NEEDED.items():
        if find_spec(name) is None:
            yield what, f"{name} is not installed"


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "none"


def _driver() -> str:
    command = shutil.which("nvidia-smi")
    if command is None:
        return "unknown"
    query = [command, "--query-gpu=driver_version", "--format=csv,noheader"]
    done = subprocess.run(query, capture_output=True, text=True, check=False, timeout=30)
    return done.stdout.strip().partition("\n")[0] or "unknown"
