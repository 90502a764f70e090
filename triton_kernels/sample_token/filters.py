"""Settings of a draw: a temperature, then top-k, top-p and min-p.

Every filter keeps an upper set of the logits, z_i >= threshold, so values of equal probability stay
together. Each filter is applied to the renormalised result of the one before.

References:
    Fan et al. (2018), arXiv:1805.04833 (top-k); Holtzman et al. (2019), arXiv:1904.09751 (top-p);
    Nguyen et al. (2024), arXiv:2407.01082 (min-p).
"""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from ancestral.triton_kernels.filter_threshold import filter_threshold

COLDEST = 1e-30
"""Least divisor of logits: two different float32 logits above 1e-20 draw as at temperature 0."""


class Temperature(NamedTuple):
    """Setting of a draw without filters, one per row of the batch."""

    temperature: Float[Tensor, " b"]


class Filters(NamedTuple):
    """Settings of a draw with filters, one per row of the batch."""

    temperature: Float[Tensor, " b"]
    top_k: Int64[Tensor, " b"]
    top_p: Float[Tensor, " b"]
    min_p: Float[Tensor, " b"]


def cooled(
    shifted: Float[Tensor, "b s v"], temperature: Float[Tensor, " b"]
) -> tuple[Float[Tensor, "b s v"], Bool[Tensor, "b 1"]]:
    """Return logits divided by the temperature, and which rows have one above 0.

    In the other rows exp z is 1 at each maximum, and 0 elsewhere.
    """
    given = temperature[:, None].to(shifted.dtype)
    return shifted / given.clamp_min(COLDEST)[..., None], given > 0


def most(warm: Bool[Tensor, "b 1"]) -> Float[Tensor, "b 1"]:
    """Return the largest sum of exp z to draw from, given which rows have a temperature above 0.

    In the other rows a sum of at most 1 draws the first maximum, with log q = 0.
    """
    return torch.where(warm, torch.inf, 1.0)


def kept(
    z: Float[Tensor, "b s v"], w: Float[Tensor, "b s v"], filters: Filters
) -> Bool[Tensor, "b s v"]:
    """Return which values the filters keep.

    Args:
        z: logits minus their maximum, divided by the temperature.
        w: exp z.
        filters: settings; the temperature is not used.
    """
    return z >= filter_threshold(z, w, *filters[1:])
