"""How often each value occurs among weighted positions of a row.

    counts[r, j, x] = sum of weights[r, j, i] over i with values[r, i] = x

Each j of a row has weights of its own, so that a block of positions may count different pasts. With
weights 0 and 1 the counts are exact in every order of the sum, up to 2^24 positions.
"""

from jaxtyping import Float, Int64
from torch import Tensor

from ancestral.triton_kernels.overridable import operator


def occurrences_reference(
    values: Int64[Tensor, "b T"], weights: Float[Tensor, "b n T"], levels: int
) -> Float[Tensor, "b n v"]:
    """Return the sum of the weights of each value.

    Args:
        values: values in 0 .. levels - 1, [b, T].
        weights: weights of the positions, [b, n, T].
        levels: number of levels v.
    """
    counts = weights.new_zeros(*weights.shape[:2], levels)
    return counts.scatter_add(-1, values[:, None].expand(weights.shape), weights)


occurrences = operator(
    "occurrences",
    occurrences_reference,
    "(Tensor values, Tensor weights, int levels) -> Tensor",
    lambda values, weights, levels: weights.new_empty((*weights.shape[:2], levels)),
)
"""`occurrences_reference` as an operator; its ONNX forms are compared with the reference."""
