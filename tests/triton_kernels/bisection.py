"""The threshold that our kernel bisects, in PyTorch: the same halvings of the same interval."""

import torch
from jaxtyping import Float
from torch import Tensor

from ancestral.triton_kernels.filter_threshold import BISECTIONS, LOWEST


def mass_threshold_reference(
    z: Float[Tensor, "b s v"],
    w: Float[Tensor, "..."],
    mass: Float[Tensor, "b s 1"],
    inclusive: bool,
) -> Float[Tensor, "b s 1"]:
    """Return the largest threshold with at least a given mass above it.

    Args:
        z: values in [LOWEST, 0], [b, s, v].
        w: their weights, [b, s, v], or [1] if all are equal.
        mass: mass above the threshold, at most the sum of the weights, [b, s, 1].
        inclusive: whether a value equal to the threshold counts as above it.

    Returns:
        thresholds [b, s, 1].
    """
    low = torch.full_like(z[..., :1], LOWEST)
    for halving in range(1, BISECTIONS + 1):
        middle = low - LOWEST * 2.0**-halving
        above = z >= middle if inclusive else z > middle
        held = torch.where(above, w, 0).sum(dim=-1, keepdim=True) >= mass
        low = torch.where(held, middle, low)
    return low
