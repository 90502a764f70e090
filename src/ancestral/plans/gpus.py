"""The NVIDIA GPUs of this machine, as their driver names them; nothing else need be installed."""

import shutil
import subprocess
from dataclasses import dataclass

_SECONDS = 30


@dataclass(frozen=True, slots=True)
class Gpu:
    """One GPU.

    Attributes:
        name: NVIDIA H200, say.
        target: its compute capability, sm_90 say.
        memory: in all, as the driver spells it.
        driver: version of the driver.
    """

    name: str
    target: str
    memory: str
    driver: str

    @property
    def itself(self) -> str:
        """What a plan of `tensorrt` is compiled for: this GPU under this driver, and no other."""
        return f"{self.name} {self.target} driver {self.driver}"


def gpus() -> tuple[Gpu, ...]:
    """The GPUs that nvidia-smi finds, in its order; none without a driver."""
    command = shutil.which("nvidia-smi")
    if command is None:
        return ()
    query = "--query-gpu=name,compute_cap,memory.total,driver_version"
    try:
        result = subprocess.run(
            [command, query, "--format=csv,noheader"],
            capture_output=True,
            text=True,
            check=False,
            timeout=_SECONDS,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ()
    lines = result.stdout.strip().splitlines() if result.returncode == 0 else []
    found = (tuple(part.strip() for part in line.split(",")) for line in lines)
    return tuple(
        Gpu(name, f"sm_{capability.replace('.', '')}", memory, driver)
        for name, capability, memory, driver in (each for each in found if len(each) == 4)
    )
