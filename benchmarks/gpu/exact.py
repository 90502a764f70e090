"""How near to float64 what a kernel gave is, by the tolerances of the kernels' own tests."""

from collections.abc import Iterable

import torch
from torch import Tensor

from benchmarks.parity import Parity
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


def worst(pairs: Iterable[tuple[Tensor, Tensor]]) -> float:
    """The largest relative error of results beside the same in float64."""
    return max(relative_error(got, exact) for got, exact in pairs)


def parity(
    pairs: Iterable[tuple[Tensor, Tensor]], dtype: torch.dtype, factor: float = 1.0
) -> Parity:
    """How exact a result is.

    Args:
        pairs: what a kernel gave, and the same in float64; perhaps pieces of one result.
        dtype: decides the tolerance.
        factor: of the tolerance, for a sum over many terms.
    """
    return relative(worst(pairs), dtype, factor)


def relative(error: float, dtype: torch.dtype, factor: float = 1.0) -> Parity:
    """The parity of a relative error."""
    limit = factor * TOLERANCE[dtype]
    return Parity(reference="PyTorch in float64", relative=error, limit_relative=limit)
