"""An affine map, followed by an activation.

    y = act(x W + b)                            W [i, o], or stored transposed, [o, i]
    y = silu(g) * v,    [g, v] = x W + b        swiglu: two halves of the o columns

An export traces the function as plain PyTorch operations. The mode `Kernels` runs a kernel instead
(`overridable`).

References:
    Hendrycks and Gimpel (2016), Gaussian error linear units, arXiv:1606.08415, section 2 (gelu, its
    tanh and quick forms, silu). Shazeer (2020), GLU variants improve Transformer, arXiv:2002.05202
    (swiglu).
"""

from typing import Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import gelu, silu

from ancestral.triton_kernels.overridable import overridable
from ancestral.triton_kernels.quantised_linear import Quantised, quantised_linear

Activation = Literal["none", "gelu", "gelu_tanh", "gelu_quick", "silu", "relu", "tanh", "swiglu"]
ACTIVATIONS: tuple[Activation, ...] = get_args(Activation)


@overridable
def linear(
    x: Float[Tensor, "*b i"],
    weight: Float[Tensor, "rows columns"] | Quantised,
    bias: Float[Tensor, " o"] | None = None,
    activation: Activation = "none",
    transposed: bool = False,
    wide: bool = False,
) -> Float[Tensor, "*b width"]:
    """Return act(x W + b): map the last axis, and apply the activation.

    Args:
        x: input, [*b, i].
        weight: [i, o], or [o, i] if `transposed`; or codes, whose rows are output features.
        bias: [o], or None.
        activation: name of the activation. swiglu returns o / 2 features; gelu_tanh is GPT-2's
            approximation.
        transposed: whether the weight has one row per output feature, as a token embedding has.
        wide: whether 16-bit inputs give a float32 result.
    """
    if isinstance(weight, Quantised):
        y = quantised_linear(x, *weight)
        return activated(y if bias is None else y + bias, activation)
    if wide and x.dtype.itemsize == 2:
        x, weight = x.float(), weight.float()
    y = _rows(x, weight) if transposed else x @ weight
    return activated(y if bias is None else y + bias, activation)


def _rows(x: Float[Tensor, "*b i"], weight: Float[Tensor, "o i"]) -> Float[Tensor, "*b o"]:
    """Return x W^T; its one batch axis lets an exported graph read the weight as stored."""
    if x.ndim <= 2:
        return torch.nn.functional.linear(x, weight)
    rows = torch.nn.functional.linear(x.flatten(0, -2), weight)
    return rows.unflatten(0, x.shape[:-1])


def activated(y: Float[Tensor, "*b o"], activation: Activation) -> Float[Tensor, "*b width"]:
    """Apply an activation; swiglu halves the last axis."""
    match activation:
        case "none":
            return y
        case "gelu":
            return gelu(y)
        case "gelu_tanh":
            return gelu(y, approximate="tanh")
        case "gelu_quick":
            return y * (1.702 * y).sigmoid()
        case "silu":
            return silu(y)
        case "relu":
            return y.relu()
        case "tanh":
            return y.tanh()
        case "swiglu":
            gate, value = y.chunk(2, dim=-1)
            return silu(gate) * value
