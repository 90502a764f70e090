"""How near to float64 what a kernel gave is, by the tolerances of the kernels' own tests."""

from collections.abc import Iterable

import torch
from torch import Tensor

from benchmarks.gpu.rows import Parity
from tests.triton_kernels.kernels.compare import TOLERANCE

LONG = 2.0
"""Of a tolerance, for sums over some thousand terms."""


def relative_error(got: Tensor, exact: Tensor) -> float:
    """Largest difference over the largest exact value of its row, the last axis; NaN is infinite.

    >>> relative_error(torch.tensor([[1.0, 2.0]]), torch.tensor([[1.0, 4.0]]).double())
    0.5
    """
    assert got.shape == exact.shape, (got.shape, exact.shape)
    scale = exact.abs().amax(dim=-1, keepdim=True).clamp_min(1e-30)
    error = ((got.double() - exact) / scale).abs().nan_to_num(nan=torch.inf)
    return float(error.amax()) if error.numel() else 0.0


def parity(
    pairs: Iterable[tuple[Tensor, Tensor]], dtype: torch.dtype, factor: float = 1.0
) -> Parity:
    """How exact a result is.

    Args:
        pairs: what a kernel gave, and the same in float64; perhaps pieces of one result.
        dtype: decides the tolerance.
        factor: of the tolerance, for a sum over many terms.
    """
    worst = max(relative_error(got, exact) for got, exact in pairs)
    return Parity("PyTorch in float64", worst, factor * TOLERANCE[dtype], "relative")
