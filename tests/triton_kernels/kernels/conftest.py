"""The device of the kernels: a CUDA GPU, or the CPU if TRITON_INTERPRET=1 is set."""

import pytest
import torch

from tests.conftest import INTERPRETED


@pytest.fixture(scope="session")
def device() -> torch.device:
    """Return the device on which kernels run; tests that use it are marked `kernels`."""
    if torch.cuda.is_available() and not INTERPRETED:
        return torch.device("cuda")
    if not INTERPRETED:
        pytest.skip("kernels need a CUDA GPU, or TRITON_INTERPRET=1 in the environment: make test")
    return torch.device("cpu")
