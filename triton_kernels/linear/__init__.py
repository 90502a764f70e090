"""An affine map, and what is applied to each of its results.

    y = act(x W + b)                            W [i, o], or stored transposed, [o, i]
    y = silu(g) * v,    [g, v] = x W + b        swiglu: two halves of o columns

Models call the function `linear`, which an export traces as the plain operations that it is made of
and which a mode may have a kernel run (`overridable`); torch.compile and direct users call the
operator `linear_operator`, which stays one node.

References:
    Hendrycks and Gimpel (2016), Gaussian error linear units, arXiv:1606.08415 (gelu, its tanh and
    quick forms in section 2, silu in section 2). Shazeer (2020), GLU variants improve Transformer,
    arXiv:2002.05202 (swiglu).
"""

from typing import Any, Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import gelu, silu

from ancestral.errors import InvalidInput
from ancestral.triton_kernels.overridable import overridable

Activation = Literal["none", "gelu", "gelu_tanh", "gelu_quick", "silu", "relu", "tanh", "swiglu"]
ACTIVATIONS: tuple[Activation, ...] = get_args(Activation)


@overridable
def linear(
    x: Float[Tensor, "*b i"],
    weight: Float[Tensor, "rows columns"],
    bias: Float[Tensor, " o"] | None = None,
    activation: Activation = "none",
    transposed: bool = False,
    wide: bool = False,
) -> Float[Tensor, "*b width"]:
    """The map of the last axis, and its activation.

    Args:
        x: what is mapped.
        weight: [i, o], or [o, i] where it is transposed.
        bias: [o], or None.
        activation: of the results; swiglu leaves o / 2 of them, gelu_tanh is GPT-2's approximation.
        transposed: whether the weight has a row for each result, as a token embedding has.
        wide: whether 16-bit factors give a result in float32.
    """
    return linear_reference(x, weight, bias, activation, transposed, wide)


def linear_reference(
    x: Float[Tensor, "*b i"],
    weight: Float[Tensor, "rows columns"],
    bias: Float[Tensor, " o"] | None = None,
    activation: Activation = "none",
    transposed: bool = False,
    wide: bool = False,
) -> Float[Tensor, "*b width"]:
    """The function in plain PyTorch: the truth that every other form is compared with."""
    if wide and x.dtype.itemsize == 2:
        x, weight = x.float(), weight.float()
    y = _rows(x, weight) if transposed else x @ weight
    return activated(y if bias is None else y + bias, activation)


def _rows(x: Float[Tensor, "*b i"], weight: Float[Tensor, "o i"]) -> Float[Tensor, "*b o"]:
    """x W^T over rows in one axis: an exported graph reads the weight as it is stored."""
    if x.ndim <= 2:
        return torch.nn.functional.linear(x, weight)
    rows = torch.nn.functional.linear(x.flatten(0, -2), weight)
    return rows.unflatten(0, x.shape[:-1])


def activated(y: Float[Tensor, "*b o"], activation: Activation) -> Float[Tensor, "*b width"]:
    """The activation of what a map gives."""
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


@torch.library.custom_op("ancestral::linear", mutates_args=())
def linear_operator(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    activation: str = "none",
    transposed: bool = False,
    wide: bool = False,
) -> Tensor:
    """`linear` as an operator.

    Raises:
        InvalidInput: an activation that there is not.
    """
    return linear_reference(x, weight, bias, known(activation), transposed, wide)


def known(activation: str) -> Activation:
    """An activation by its name.

    Raises:
        InvalidInput: there is none of that name.
    """
    for each in ACTIVATIONS:
        if each == activation:
            return each
    raise InvalidInput(f"activation: expected one of {ACTIVATIONS}, got {activation!r}")


def _dtype(x: Tensor, bias: Tensor | None, wide: bool) -> torch.dtype:
    """Of the result, by PyTorch's promotion."""
    dtype = torch.float32 if wide and x.dtype.itemsize == 2 else x.dtype
    return dtype if bias is None else torch.promote_types(dtype, bias.dtype)


@linear_operator.register_fake
def _(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    activation: str = "none",
    transposed: bool = False,
    wide: bool = False,
) -> Tensor:
    width = weight.shape[0 if transposed else 1] // (2 if known(activation) == "swiglu" else 1)
    return x.new_empty(*x.shape[:-1], width, dtype=_dtype(x, bias, wide))


@linear_operator.register_kernel("cuda")
def _(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    activation: str = "none",
    transposed: bool = False,
    wide: bool = False,
) -> Tensor:
    from ancestral.triton_kernels.linear.kernel import launch

    name, dtype = known(activation), _dtype(x, bias, wide)
    return launch(x, weight, bias, name, transposed, wide, out_dtype=dtype)


def _save(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    *tensors, ctx.activation, ctx.transposed, ctx.wide = inputs
    ctx.save_for_backward(*tensors)


def _backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
    """PyTorch's own derivative, of the map run once more."""
    saved: list[Any] = [
        None if each is None else each.detach().requires_grad_() for each in ctx.saved_tensors
    ]
    x, weight, bias = saved
    with torch.enable_grad():
        y = linear_reference(x, weight, bias, ctx.activation, ctx.transposed, ctx.wide)
    given = [each for each in saved if each is not None]
    gradients = iter(torch.autograd.grad(y, given, gradient))
    return *(None if each is None else next(gradients) for each in saved), None, None, None


linear_operator.register_autograd(_backward, setup_context=_save)
