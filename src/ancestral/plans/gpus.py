"""List the NVIDIA GPUs of this machine; needs only their driver."""

import shutil
import subprocess
from dataclasses import dataclass

_SECONDS = 30


@dataclass(frozen=True, slots=True)
class Gpu:
    """NVIDIA GPU of this machine.

    Attributes:
        name: name of the GPU, for example "NVIDIA H200".
        target: compute capability, for example "sm_90".
        memory: total memory, as the driver formats it.
        driver: version of the driver.
    """

    name: str
    target: str
    memory: str
    driver: str

    @property
    def itself(self) -> str:
        """Target of a plan that `tensorrt` compiles: only this GPU under this driver."""
        return f"{self.name} {self.target} driver {self.driver}"


def gpus() -> tuple[Gpu, ...]:
    """Return the GPUs that nvidia-smi lists, in its order; empty without a driver."""
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
