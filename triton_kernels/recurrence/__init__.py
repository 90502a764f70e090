"""Gated recurrent layers over a block of positions: GRU and LSTM.

    GRU     z = sig(Wz x + Rz h + bz)      r = sig(Wr x + Rr h + br)
            n = tanh(Wn x + bn + r * (Rn h + cn))          h' = (1 - z) * n + z * h
    LSTM    i, o, f = sig(W x + R h + b)   g = tanh(Wg x + Rg h + bg)
            c' = f * c + i * g                             h' = o * tanh(c')

Weights are stored as ONNX reads them, so that an exported graph refers to them directly: gates in
the order z, r, n and i, o, f, g, input biases before recurrent biases. PyTorch's own kernels use
other orders, and get rearranged copies.

References:
    Cho et al. (2014), arXiv:1406.1078, section 2.3 (GRU; here the reset gate comes after the
    product, as cuDNN has it). Hochreiter and Schmidhuber (1997), Long short-term memory, Neural
    Computation 9(8); Gers et al. (2000), Learning to forget (its forget gate).
"""

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from ancestral.triton_kernels.overridable import operator

_TORCH_GRU, _TORCH_LSTM = (1, 0, 2), (0, 2, 3, 1)
"""Indices of our gates in PyTorch's order: r, z, n and i, f, g, o."""


def gru_reference(
    x: Float[Tensor, "b s i"],
    h: Float[Tensor, "b d"],
    w: Float[Tensor, "1 gates i"],
    r: Float[Tensor, "1 gates d"],
    bias: Float[Tensor, "1 biases"],
) -> tuple[Float[Tensor, "b s d"], Float[Tensor, "b d"]]:
    """Run one GRU layer with PyTorch's own function.

    Args:
        x: inputs, [b, s, i].
        h: state before the first position, [b, d].
        w: input weights, [1, 3 d, i].
        r: recurrent weights, [1, 3 d, d].
        bias: [1, 6 d].

    Returns:
        the states after each position, [b, s, d], and after the last, [b, d].
    """
    parameters = _rearranged(w, r, bias, _TORCH_GRU)
    y, last = torch.gru(x, h[None], parameters, True, 1, 0.0, False, False, True)
    return y, last[0].clone()


def lstm_reference(
    x: Float[Tensor, "b s i"],
    h: Float[Tensor, "b d"],
    c: Float[Tensor, "b d"],
    w: Float[Tensor, "1 gates i"],
    r: Float[Tensor, "1 gates d"],
    bias: Float[Tensor, "1 biases"],
) -> tuple[Float[Tensor, "b s d"], Float[Tensor, "b d"], Float[Tensor, "b d"]]:
    """Run one LSTM layer with PyTorch's own function.

    Args:
        x: inputs, [b, s, i].
        h: state before the first position, [b, d].
        c: cell before the first position, [b, d].
        w: input weights, [1, 4 d, i].
        r: recurrent weights, [1, 4 d, d].
        bias: [1, 8 d].

    Returns:
        the states after each position, [b, s, d]; state and cell after the last, [b, d] each.
    """
    parameters = _rearranged(w, r, bias, _TORCH_LSTM)
    y, last, cell = torch.lstm(x, (h[None], c[None]), parameters, True, 1, 0.0, False, False, True)
    return y, last[0].clone(), cell[0].clone()


def _rearranged(w: Tensor, r: Tensor, bias: Tensor, order: tuple[int, ...]) -> list[Tensor]:
    """Return the weights and both biases with the gates in PyTorch's order."""
    d = r.shape[2]
    input_bias, recurrent_bias = bias[0].chunk(2)
    return [
        torch.cat([part.split(d)[gate] for gate in order])
        for part in (w[0], r[0], input_bias, recurrent_bias)
    ]


def _results(x: Tensor, *states: Tensor) -> tuple[Tensor, ...]:
    """Return empty tensors of the shapes that a layer returns."""
    return x.new_empty(*x.shape[:2], states[0].shape[1]), *map(torch.empty_like, states)


gru = operator(
    "gru",
    gru_reference,
    "(Tensor x, Tensor h, Tensor w, Tensor r, Tensor bias) -> (Tensor, Tensor)",
    lambda x, h, *_: _results(x, h),
)
"""`gru_reference` as an operator; its other forms are compared with the reference."""
lstm = operator(
    "lstm",
    lstm_reference,
    "(Tensor x, Tensor h, Tensor c, Tensor w, Tensor r, Tensor bias) -> (Tensor, Tensor, Tensor)",
    lambda x, h, c, *_: _results(x, h, c),
)
"""`lstm_reference` as an operator; its other forms are compared with the reference."""


def _save(ctx: Any, inputs: tuple[Tensor, ...], output: tuple[Tensor, ...]) -> None:
    ctx.save_for_backward(*inputs)


def _derivative(reference: Callable[..., tuple[Tensor, ...]]) -> Callable[..., tuple[Tensor, ...]]:
    """Return the backward function: it runs the layer again and takes PyTorch's derivative."""

    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, ...]:
        saved = [tensor.detach().requires_grad_() for tensor in ctx.saved_tensors]
        with torch.enable_grad():
            outputs = reference(*saved)
        return torch.autograd.grad(outputs, saved, gradients)

    return backward


gru.register_autograd(_derivative(gru_reference), setup_context=_save)
lstm.register_autograd(_derivative(lstm_reference), setup_context=_save)
