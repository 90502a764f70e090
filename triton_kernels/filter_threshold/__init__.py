"""The threshold of top-k, top-p and min-p: a value stays where z is at least the threshold.

With z_(1) >= z_(2) >= ... the sorted logits of a row,

    top-k   z_(k)
    top-p   the last z_(i) with sum of exp z_(j) over j < i  <  P sum of exp z_j over z_j >= z_(k)
    min-p   log m,  where the highest z is 0

and the threshold is the highest of the three. Values of equal probability stay together.
"""

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from ancestral.triton_kernels.overridable import operator

LOWEST = -208.0
"""Lowest threshold that a bisection finds, in nats: its exponential is 0 in float32."""
BISECTIONS = 30
"""Number of halvings of [LOWEST, 0], which leave an interval of 2e-7 nats."""


def filter_threshold_reference(
    z: Float[Tensor, "b s v"],
    w: Float[Tensor, "b s v"],
    top_k: Int64[Tensor, " b"],
    top_p: Float[Tensor, " b"],
    min_p: Float[Tensor, " b"],
) -> Float[Tensor, "b s 1"]:
    """Return the lowest logit that stays, by a sort.

    Args:
        z: logits minus their maximum.
        w: exp z.
        top_k: number of values that top-k keeps, at most v; v is off.
        top_p: mass that top-p keeps, in (0, 1]; 1 is off.
        min_p: least probability that min-p keeps, relative to the highest; 0 is off.

    Returns:
        thresholds [b, s, 1], in nats below the maximum.
    """
    k, p, m = (each[:, None, None] for each in (top_k, top_p.to(z.dtype), min_p.to(z.dtype)))
    ordered = z.sort(dim=-1, descending=True).values
    rank = torch.arange(z.shape[-1], device=z.device)
    least = torch.where(rank < k, ordered, torch.inf).amin(dim=-1, keepdim=True)
    sums = torch.where(ordered >= least, ordered.exp(), 0).cumsum(dim=-1)
    before = torch.nn.functional.pad(sums[..., :-1], (1, 0))
    whole = torch.where(z >= least, w, 0).sum(dim=-1, keepdim=True)
    nucleus = torch.where(before < p * whole, ordered, torch.inf).amin(dim=-1, keepdim=True)
    nucleus = torch.where(p < 1, nucleus, -torch.inf)
    return torch.maximum(torch.maximum(least, nucleus), m.log())


filter_threshold = operator(
    "filter_threshold",
    filter_threshold_reference,
    "(Tensor z, Tensor w, Tensor top_k, Tensor top_p, Tensor min_p) -> Tensor",
    lambda z, *_: torch.empty_like(z[..., :1]),
)
"""`filter_threshold_reference` as an operator; its other forms are compared with the reference."""
