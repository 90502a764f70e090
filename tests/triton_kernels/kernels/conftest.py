"""The device of the kernels: a CUDA GPU, or the CPU if TRITON_INTERPRET=1 is set."""

from typing import Any

import numpy as np
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


@pytest.fixture
def row_by_row(monkeypatch: pytest.MonkeyPatch) -> None:
    """Interpret a kernel's product without NumPy's, whose bits for a row depend on its place."""
    if not INTERPRETED:
        return
    from triton.runtime import interpreter

    def create_dot(builder: Any, a: Any, b: Any, sums: Any, *settings: object) -> Any:
        product = np.einsum("...mk,...kn->...mn", a.data, b.data, dtype=sums.data.dtype)
        return interpreter.TensorHandle(product + sums.data, sums.dtype.scalar)

    monkeypatch.setattr(interpreter.InterpreterBuilder, "create_dot", create_dot)
