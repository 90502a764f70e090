"""The largest threshold with a given mass above it, by bisection: top-k and top-p without a sort.

    t* = max { t in [LOWEST, 0] : sum of w_i over z_i >= t  (or z_i > t)  is >= mass }

to 2^-BISECTIONS of the interval. With w = 1 and mass = k over z_i >= t, this is the k-th largest z;
with w the probabilities and mass = P over z_i > t, it is where the nucleus begins.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from ancestral.triton_kernels.overridable import operator

LOWEST = -208.0
"""Lower clamp of the logits, in nats: its exponential is 0 in float32."""
BISECTIONS = 30
"""Number of halvings of [LOWEST, 0], which leave an interval of 2e-7 nats."""


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
    least = _least(z, w, mass) if inclusive else None
    low = torch.full_like(z[..., :1], LOWEST)
    for halving in range(1, BISECTIONS + 1):
        middle = low - LOWEST * 2.0**-halving
        if least is not None:
            held = least >= middle
        else:
            above = z >= middle if inclusive else z > middle
            held = torch.where(above, w, 0).sum(dim=-1, keepdim=True) >= mass
        low = torch.where(held, middle, low)
    return low


def _least(
    z: Float[Tensor, "b s v"], w: Float[Tensor, "..."], mass: Float[Tensor, "b s 1"]
) -> Float[Tensor, "b s 1"] | None:
    """Return the least values if all values stay, as without top-k; otherwise None.

    Comparing them with a threshold then gives the same bits as summing. On a CPU only: the test
    would make a GPU wait, which a captured graph must not do.
    """
    if w.numel() > 1 or z.device.type != "cpu" or not bool((mass == z.shape[-1] * w).all()):
        return None
    return z.amin(dim=-1, keepdim=True)


mass_threshold = operator(
    "mass_threshold",
    mass_threshold_reference,
    "(Tensor z, Tensor w, Tensor mass, bool inclusive) -> Tensor",
    lambda z, *_: torch.empty_like(z[..., :1]),
)
"""`mass_threshold_reference` as an operator; its other forms are compared with the reference."""
