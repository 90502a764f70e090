"""The kernel of the residual and the norm."""

import pytest
import torch
from torch import Tensor

from ancestral.errors import InvalidInput
from ancestral.triton_kernels.launch import FLOATS
from ancestral.triton_kernels.residual_norm import residual_norm_reference
from tests.triton_kernels.kernels.compare import assert_near, far

pytestmark = pytest.mark.kernels


def drawn(rows: int, d: int, dtype: torch.dtype, device: torch.device) -> list[Tensor]:
    """Return x, y, weight, bias; one row is so small that epsilon counts, one is far from 0."""
    generator = torch.Generator().manual_seed(d)
    x, y = (torch.randn(rows, 1, d, generator=generator) for _ in range(2))
    x[0], y[0] = 1e-3 * x[0], 1e-3 * y[0]
    x[-1] += 8.0
    weight, bias = (torch.randn(d, generator=generator) for _ in range(2))
    return [each.to(device, dtype) for each in (x, y, weight, bias)]


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("d", [1, 24, 128, 769])
@pytest.mark.parametrize("rms", [False, True], ids=["layer", "rms"])
def test_exact(device: torch.device, dtype: torch.dtype, d: int, rms: bool) -> None:
    from ancestral.triton_kernels.residual_norm.kernel import launch

    x, y, weight, bias = drawn(3, d, dtype, device)
    given = None if rms else bias
    h, n = launch(x, y, weight, given, 1e-5, rms)
    wide = [None if each is None else each.double() for each in (x, y, weight, given)]
    assert_near(h, wide[0] + wide[1], "h")
    # The norm is computed from the stored, rounded sum.
    args = (h.double(), torch.zeros_like(h).double(), *wide[2:])
    exact = residual_norm_reference(*args, 1e-5, rms)[1]
    assert_near(n, exact, "n")
    if d > 1:
        assert far(n, residual_norm_reference(*args, 1e-3, rms)[1]), "another epsilon"
        assert far(n, residual_norm_reference(*args, 1e-5, not rms)[1]), "the other norm"


def test_rows_are_independent(device: torch.device) -> None:
    from ancestral.triton_kernels.residual_norm.kernel import launch

    x, y, weight, bias = drawn(64, 100, torch.float32, device)
    whole = launch(x, y, weight, bias, 1e-5, False)[1]
    for rows in (1, 7):
        assert torch.equal(launch(x[:rows], y[:rows], weight, bias, 1e-5, False)[1], whole[:rows])


def test_no_rows(device: torch.device) -> None:
    from ancestral.triton_kernels.residual_norm.kernel import launch

    x, y, weight, bias = drawn(2, 8, torch.float32, device)
    assert launch(x[:0], y[:0], weight, bias, 1e-5, False)[1].shape == (0, 1, 8)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x, y, w, b: (x, y.double(), w, b), "y: expected"),
        (lambda x, y, w, b: (x, y, w[:-1], b), "weight: expected"),
        (lambda x, y, w, b: (x[..., ::2], y[..., ::2], w[:4], b[:4]), "x: expected contiguous"),
        (lambda x, y, w, b: (x[..., :0], y[..., :0], w, b), "x: expected a width"),
        (lambda x, y, w, b: (x.to("meta"), y, w, b), "y: expected"),
    ],
    ids=["dtype", "width", "strided", "none", "device"],
)
def test_refused(device: torch.device, change, message: str) -> None:
    from ancestral.triton_kernels.residual_norm.kernel import launch

    inputs = change(*drawn(2, 8, torch.float32, device))
    with pytest.raises(InvalidInput, match=message):
        launch(*inputs, 1e-5, False)
