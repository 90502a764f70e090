"""GRU and LSTM: their equations, derivatives, and ONNX forms."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from ancestral.export.operators import Form
from ancestral.triton_kernels.recurrence import gru, lstm
from tests.triton_kernels.single import ROUNDING, Call, exported, run

B, S, I, D = 3, 4, 5, 6
CELLS: dict[str, tuple[Callable[..., tuple[Tensor, ...]], int, int]] = {
    "gru": (gru, 3, 1),
    "lstm": (lstm, 4, 2),
}
"""Operator, gates, and carried states."""


def inputs(cell: str, dtype: torch.dtype = torch.float32) -> tuple[Tensor, ...]:
    """Return x, states, input weights, recurrent weights, biases."""
    _, gates, states = CELLS[cell]
    shapes = [(B, S, I), *[(B, D)] * states, (1, gates * D, I), (1, gates * D, D)]
    generator = torch.manual_seed(0)
    drawn = [torch.randn(shape, generator=generator) for shape in (*shapes, (1, 2 * gates * D))]
    return tuple(each.to(dtype) for each in drawn)


def by_hand(
    cell: str, x: Tensor, states: list[Tensor], w: Tensor, r: Tensor, bias: Tensor
) -> Tensor:
    """Return the operator's equations, computed position by position, [b, s, d]."""
    b_in, b_r = bias[0].chunk(2)
    h, found = states[0], []
    for n in range(x.shape[1]):
        from_x = (x[:, n] @ w[0].T + b_in).split(D, dim=1)
        from_h = (h @ r[0].T + b_r).split(D, dim=1)
        if cell == "gru":
            z, reset = (torch.sigmoid(from_x[i] + from_h[i]) for i in (0, 1))
            new = torch.tanh(from_x[2] + reset * from_h[2])
            h = (1 - z) * new + z * h
        else:
            i, o, f = (torch.sigmoid(from_x[k] + from_h[k]) for k in (0, 1, 2))
            states[1] = f * states[1] + i * torch.tanh(from_x[3] + from_h[3])
            h = o * torch.tanh(states[1])
        found.append(h)
    return torch.stack(found, dim=1)


@pytest.mark.parametrize("cell", CELLS)
def test_equations(cell: str) -> None:
    x, *states, w, r, bias = inputs(cell, torch.float64)
    y, *last = CELLS[cell][0](x, *states, w, r, bias)
    expected = by_hand(cell, x, list(states), w, r, bias)
    assert (y - expected).abs().max() < 1e-14
    assert torch.equal(last[0], y[:, -1])


@pytest.mark.parametrize("cell", CELLS)
def test_in_parts(cell: str) -> None:
    """Two blocks, the second from the states of the first, give what one block gives."""
    operator, _, _ = CELLS[cell]
    x, *states, w, r, bias = inputs(cell, torch.float64)
    whole, *last = operator(x, *states, w, r, bias)
    first, *between = operator(x[:, :1], *states, w, r, bias)
    second, *end = operator(x[:, 1:], *between, w, r, bias)
    assert (torch.cat([first, second], dim=1) - whole).abs().max() < 1e-14
    for got, expected in zip(end, last, strict=True):
        assert (got - expected).abs().max() < 1e-14


@pytest.mark.parametrize("cell", CELLS)
def test_derivative(cell: str) -> None:
    given = tuple(each.requires_grad_() for each in inputs(cell, torch.float64))
    assert torch.autograd.gradcheck(CELLS[cell][0], given)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("form", ["portable", "onnxruntime"])
def test_forms(cell: str, form: Form) -> None:
    """One graph is right for any number of rows and positions."""
    operator, _, states = CELLS[cell]
    tensors = inputs(cell)
    b, s = torch.export.Dim("b", min=1), torch.export.Dim("s", min=1)
    dynamic = (({0: b, 1: s}, *[{0: b}] * states, {}, {}, {}),)
    session = exported(Call(operator), tensors, form, dynamic)
    x, *carried, w, r, bias = tensors
    for rows, length in ((B, S), (1, S), (B, 1)):
        some = (x[:rows, :length], *(each[:rows] for each in carried), w, r, bias)
        for got, expected in zip(run(session, some), operator(*some), strict=True):
            assert np.abs(got - expected.numpy()).max() < ROUNDING
