"""A draw from logits: a deterministic function of the logits and one uniform u.

With w = exp(l - max l) and C its cumulative sum, the value is the first i with C_i >= u C_last,
never one with w_i = 0. For many values C is summed in blocks of about sqrt(v), which keeps its
rounding near that of a sum of sqrt(v) terms (Higham, Accuracy and Stability of Numerical
Algorithms, 2002, section 4.2); only the block that contains the value is summed value by value.
"""

import math

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from ancestral.triton_kernels.first_reached import first_reached

FLAT = 256
"""Up to this many values one running sum is accurate enough; above, C is summed in blocks."""


def unnormalised(
    logits: Float[Tensor, "*b v"],
) -> tuple[Float[Tensor, "*b v"], Float[Tensor, "*b v"]]:
    """Return shifted logits l - max l, at least in float32, and their exponentials w."""
    wide = logits if logits.dtype == torch.float64 else logits.float()
    shifted = wide - wide.amax(dim=-1, keepdim=True)
    return shifted, shifted.exp()


def inverse_cdf(
    w: Float[Tensor, "*b v"], u: Float[Tensor, "*b"], most: Float[Tensor, "..."] | None = None
) -> tuple[Int64[Tensor, "*b"], Float[Tensor, "*b"]]:
    """Return the first i with C_i >= u C, for C_i the sums of w_0 .. w_i, and C, the last one.

    Args:
        w: unnormalised probabilities, not all zero.
        u: uniforms in (0, 1).
        most: largest C, from which values are drawn as if the sum were no larger.
    """
    if w.shape[-1] <= FLAT:
        c = w.cumsum(dim=-1)
        total = c[..., -1] if most is None else torch.minimum(c[..., -1], most)
        return first_reached(c, (u.to(w.dtype) * total)[..., None]), total
    blocks = _blocks(w)
    size = blocks.shape[-1]
    ends = blocks.sum(dim=-1).cumsum(dim=-1)
    total = ends[..., -1] if most is None else torch.minimum(ends[..., -1], most)
    target = (u.to(w.dtype) * total)[..., None]
    block = first_reached(ends, target)[..., None]
    before = torch.nn.functional.pad(ends, (1, 0)).gather(-1, block)
    inside = blocks.gather(-2, block[..., None].expand(*block.shape, size))[..., 0, :].cumsum(-1)
    # The block's sum and its running sum may round differently: stop at the last w > 0.
    rest = torch.minimum(target - before, inside[..., -1:])
    return block[..., 0] * size + first_reached(inside, rest), total


def last_sum(w: Float[Tensor, "*b v"]) -> Float[Tensor, "*b"]:
    """Return the C_last of `inverse_cdf`, to the bit."""
    sums = w if w.shape[-1] <= FLAT else _blocks(w).sum(dim=-1)
    return sums.cumsum(dim=-1)[..., -1]


def _blocks(w: Float[Tensor, "*b v"]) -> Float[Tensor, "*b n m"]:
    """Cut w into blocks of about sqrt(v) values; the last one ends with zeros."""
    size = math.ceil(math.sqrt(w.shape[-1]))
    padding = -w.shape[-1] % size
    padded = torch.nn.functional.pad(w, (0, padding)) if padding else w
    return padded.unflatten(-1, (-1, size))
