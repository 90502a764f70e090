"""Filters of a draw: temperature, then top-k, top-p and min-p, as thresholds found by bisection.

Every filter keeps an upper set of the logits, z_i >= threshold, so it only has to find a threshold:
no sort, the same few operations in PyTorch and ONNX, and values of equal probability stay together.
Each filter is applied to the renormalised result of the one before.

References:
    Fan et al. (2018), arXiv:1805.04833 (top-k); Holtzman et al. (2019), arXiv:1904.09751 (top-p);
    Nguyen et al. (2024), arXiv:2407.01082 (min-p).
"""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from ancestral.triton_kernels.mass_threshold import LOWEST, mass_threshold


class Filters(NamedTuple):
    """Settings of the filters, one per row of the batch."""

    temperature: Float[Tensor, " b"]
    top_k: Int64[Tensor, " b"]
    top_p: Float[Tensor, " b"]
    min_p: Float[Tensor, " b"]


def filtered(shifted: Float[Tensor, "b s v"], filters: Filters) -> Float[Tensor, "b s v"]:
    """Return shifted logits z of the filtered distribution, -inf where a value is dropped.

    Args:
        shifted: logits minus their maximum.
        filters: settings; temperature 0 keeps only the first value of highest probability.
    """
    z = _cooled(shifted, filters.temperature[:, None, None])
    w = z.exp()
    one = torch.ones_like(w[0, 0, :1])
    k = filters.top_k[:, None, None].to(z.dtype).expand(-1, z.shape[1], 1)
    least = mass_threshold(z, one, k, inclusive=True)
    kept = torch.where(z >= least, w, 0)
    p = filters.top_p[:, None, None].to(z.dtype)
    if _any_nucleus(filters.top_p):
        above = mass_threshold(z, kept, p * kept.sum(dim=-1, keepdim=True), inclusive=False)
        above = torch.where(p < 1, above, -torch.inf)
    else:
        above = torch.full_like(least, -torch.inf)
    keep = (z >= least) & (z > above) & (z >= filters.min_p[:, None, None].log())
    return torch.where(keep, z, -torch.inf)


def _any_nucleus(top_p: Float[Tensor, " b"]) -> bool:
    """Return whether top-p needs a threshold.

    Always True in a traced graph, which must work for any p, and on a GPU, which would have to wait
    for the answer.
    """
    if torch.compiler.is_exporting() or top_p.device.type != "cpu":
        return True
    return bool((top_p < 1).any())


def _cooled(
    shifted: Float[Tensor, "b s v"], temperature: Float[Tensor, "b 1 1"]
) -> Float[Tensor, "b s v"]:
    """Divide logits by the temperature; at 0 all weight is on the first maximum."""
    first = shifted.argmax(dim=-1, keepdim=True)
    index = torch.arange(shifted.shape[-1], device=shifted.device)
    greedy = torch.where(index == first, 0.0, LOWEST).to(shifted.dtype)
    divisor = torch.where(temperature > 0, temperature, 1).to(shifted.dtype)
    return torch.where(temperature > 0, shifted / divisor, greedy).clamp_min(LOWEST)
