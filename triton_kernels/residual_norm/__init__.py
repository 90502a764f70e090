"""Add a branch to the residual stream, and normalise the sum.

    h = x + y        n = (h - mean h) / sqrt(var h + eps) * weight + bias        (LayerNorm)
                     n = h / sqrt(mean h^2 + eps) * weight                       (RMSNorm)

It is one operator because every runtime has a fused form of it, and the overhead of many small
nodes dominates a small model's step.

References:
    Ba et al. (2016), Layer normalization, arXiv:1607.06450.
    Zhang and Sennrich (2019), Root mean square layer normalization, arXiv:1910.07467.
"""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import layer_norm, rms_norm

from ancestral.triton_kernels.overridable import operator


def residual_norm_reference(
    x: Float[Tensor, "b s d"],
    y: Float[Tensor, "b s d"],
    weight: Float[Tensor, " d"],
    bias: Float[Tensor, " d"] | None,
    epsilon: float,
    rms: bool,
) -> tuple[Float[Tensor, "b s d"], Float[Tensor, "b s d"]]:
    """Return the sum x + y and its norm over the last axis, both with x's shape and dtype.

    Args:
        x: residual stream, [b, s, d].
        y: branch, [b, s, d].
        weight: [d].
        bias: [d], or None; always None with `rms`.
        epsilon: number added to the variance, or to the mean square.
        rms: whether to use RMSNorm instead of LayerNorm.
    """
    h = x + y
    return h, norm(h, weight, bias, epsilon, rms)


def norm(
    h: Float[Tensor, "*b d"],
    weight: Float[Tensor, " d"],
    bias: Float[Tensor, " d"] | None,
    epsilon: float,
    rms: bool,
) -> Float[Tensor, "*b d"]:
    """Apply LayerNorm or RMSNorm to the last axis."""
    if rms:
        return rms_norm(h, weight.shape, weight, epsilon)
    return layer_norm(h, weight.shape, weight, bias, epsilon)


residual_norm = operator(
    "residual_norm",
    residual_norm_reference,
    "(Tensor x, Tensor y, Tensor weight, Tensor? bias, float epsilon, bool rms) "
    "-> (Tensor, Tensor)",
    lambda x, *_: (torch.empty_like(x), torch.empty_like(x)),
)
"""`residual_norm_reference` as an operator; its other forms are compared with the reference."""


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    _, y, weight, bias, ctx.epsilon, ctx.rms = inputs
    ctx.branch = y.dtype
    ctx.save_for_backward(output[0], weight, bias)


def _backward(ctx: Any, grad_h: Tensor, grad_n: Tensor) -> tuple[Tensor | None, ...]:
    """Differentiate the norm at the saved sum; both addends get the gradient."""
    saved = [tensor.detach().requires_grad_() for tensor in ctx.saved_tensors if tensor is not None]
    with torch.enable_grad():
        h, weight, *bias = saved
        n = norm(h, weight, bias[0] if bias else None, ctx.epsilon, ctx.rms)
    through, *rest = torch.autograd.grad(n, saved, grad_n)
    total = grad_h + through
    grad_bias = rest[1] if len(rest) > 1 else None
    return total, total.to(ctx.branch), rest[0], grad_bias, None, None


residual_norm.register_autograd(_backward, setup_context=_save)
