"""Where the kernels run: on a CUDA GPU, or interpreted where TRITON_INTERPRET=1 was set."""

import pytest
import torch

from tests.conftest import INTERPRETED


@pytest.fixture(scope="session")
def device() -> torch.device:
    """A device on which the kernels run; tests that use it are marked `kernels`."""
    if torch.cuda.is_available() and not INTERPRETED:
        return torch.device("cuda")
    if not INTERPRETED:
        pytest.skip("kernels need a CUDA GPU, or TRITON_INTERPRET=1 in the environment: make test")
    return torch.device("cpu")
