"""Comparison of kernels with their references in float64: the one table of tolerances."""

import pytest
import torch
from torch import Tensor

from ancestral.triton_kernels.launch import FLOATS

EACH_FLOAT = [
    pytest.param(each, marks=[pytest.mark.slow] * (each == torch.float16)) for each in FLOATS
]
"""Types for kernels that treat both 16-bit types alike: float16 is marked slow."""
# Relative to the largest exact value of a row: some tens of roundings in fp32, or a few of a result
# that is stored in 16 bits (2^-9 and 2^-12 each).
TOLERANCE = {torch.float32: 4e-6, torch.bfloat16: 1.2e-2, torch.float16: 1.5e-3}


def assert_near(got: Tensor, exact: Tensor, what: str, factor: float = 1.0) -> None:
    """Fail with the largest, the mean and the index of the worst error; NaN and holes fail.

    Args:
        got: result of a kernel; its dtype decides the tolerance.
        exact: result in float64, for the same inputs.
        what: name of the result in the message.
        factor: factor of the tolerance, for a sum over many terms.
    """
    assert got.shape == exact.shape, f"{what}: shapes {tuple(got.shape)} and {tuple(exact.shape)}"
    assert exact.dtype == torch.float64
    if not got.numel():
        return
    scale = exact.abs().amax(dim=-1, keepdim=True).clamp_min(1e-30)
    error = ((got.cpu().double() - exact.cpu()).abs() / scale.cpu()).nan_to_num(nan=torch.inf)
    worst = tuple(int(i) for i in torch.unravel_index(error.argmax(), error.shape))
    limit = factor * TOLERANCE[got.dtype]
    assert error.max() <= limit, (
        f"{what}: max {float(error.max()):.3g} is over {limit:.3g}, mean {float(error.mean()):.3g},"
        f" worst at {worst}: {float(got[worst])!r} and {float(exact[worst])!r}"
    )


def far(got: Tensor, exact: Tensor, factor: float = 1.0) -> bool:
    """Return whether a result is off by 10 tolerances, as with a planted fault."""
    try:
        assert_near(got, exact, "planted", 10 * factor)
    except AssertionError:
        return True
    return False
