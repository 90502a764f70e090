"""Where a cumulative sum reaches a target: the draw by inverse CDF.

i[..] = the first i with c_i >= target,        for c_0 <= c_1 <= ... and target <= c_(v-1)
"""

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from ancestral.triton_kernels.overridable import operator


def first_reached_reference(
    c: Float[Tensor, "*b v"], target: Float[Tensor, "*b 1"]
) -> Int64[Tensor, "*b"]:
    """Return the index of the first sum that is at least the target, [..].

    Args:
        c: cumulative sums of numbers that are not negative.
        target: targets, at most the last sum of each row.
    """
    return (c < target).sum(dim=-1)


first_reached = operator(
    "first_reached",
    first_reached_reference,
    "(Tensor c, Tensor target) -> Tensor",
    lambda c, _: c.new_empty(c.shape[:-1], dtype=torch.int64),
)
"""`first_reached_reference` as an operator; its ONNX forms are compared with the reference."""
