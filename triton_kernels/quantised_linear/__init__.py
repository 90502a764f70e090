"""x W^T with a weight of 4 or 8 bits.

    y = x W^T                      W = dequantise(codes, ...)
    y = r(x) W^T                   r rounds activations to 8 bits, in groups of B along k

    r(x)[k] = round(127 x[k] / m) m / 127           m = max |x| over the group of k

The first form has the same results as a product with the dequantised weight. The second is another
model: products of 8-bit integers are faster, and the rounding costs likelihood.

References:
    Dettmers et al. (2022), LLM.int8(), arXiv:2208.07339, section 2.1 (absmax quantisation).
"""

from typing import NamedTuple

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from ancestral.triton_kernels.dequantise import dequantise_reference
from ancestral.triton_kernels.overridable import operator


class Quantised(NamedTuple):
    """A weight [n, k] of 4 or 8 bits, as `dequantise` takes it.

    Attributes:
        codes: packed codes, [n, G, B bits / 8] uint8.
        scale: scale of each group, [n, G].
        zero: packed zero points, [n, z] uint8; None for the middle.
        width: number k of columns.
        bits: 4 or 8.
        rounded: whether a product rounds its activations to 8 bits.
    """

    codes: UInt8[Tensor, "n g p"]
    scale: Float[Tensor, "n g"]
    zero: UInt8[Tensor, "n z"] | None
    width: int
    bits: int
    rounded: bool

    @property
    def group(self) -> int:
        """Numbers of a group."""
        return self.codes.shape[2] * 8 // self.bits


TINY = 1e-36
"""Largest absolute value of a group that is rounded to zero: 127 / m would be infinite below."""


def rounded(x: Float[Tensor, "*b k"], group: int) -> Float[Tensor, "*b k"]:
    """Round activations to multiples of m / 127 in each group, m its largest absolute value.

    Halves are rounded to even. A group whose largest value is at most `TINY` becomes zero.
    """
    width = x.shape[-1]
    whole = torch.nn.functional.pad(x, (0, -width % group)).unflatten(-1, (-1, group))
    most = whole.abs().amax(dim=-1, keepdim=True)
    steps = torch.where(most > TINY, 127 / most, 0)
    return ((whole * steps).round() * (most / 127)).flatten(-2)[..., :width]


def quantised_linear_reference(
    x: Float[Tensor, "*b k"],
    codes: UInt8[Tensor, "n g p"],
    scale: Float[Tensor, "n g"],
    zero: UInt8[Tensor, "n z"] | None,
    width: int,
    bits: int,
    rounds: bool,
) -> Float[Tensor, "*b n"]:
    """Return x W^T.

    Args:
        x: input, [*b, k].
        codes: packed codes, as in `Quantised`.
        scale: scale of each group.
        zero: packed zero points, or None.
        width: number k of columns.
        bits: 4 or 8.
        rounds: whether x is rounded to 8 bits first.
    """
    weight = dequantise_reference(codes, scale, zero, width, bits).to(x.dtype)
    if rounds:
        x = rounded(x, codes.shape[2] * 8 // bits)
    return torch.nn.functional.linear(x, weight)


quantised_linear = operator(
    "quantised_linear",
    quantised_linear_reference,
    "(Tensor x, Tensor codes, Tensor scale, Tensor? zero, int width, int bits, bool rounds) "
    "-> Tensor",
    lambda x, codes, *_: x.new_empty((*x.shape[:-1], codes.shape[0])),
)
"""`quantised_linear_reference` as an operator; its other forms are compared with the reference."""
