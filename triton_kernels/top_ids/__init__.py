"""The ids of the largest values, largest first; among equal values the lowest id first.

    ids[.., j] = the j-th of 0 .. v - 1, ordered by -z and then by id

ONNX's TopK has this order by definition. torch.topk leaves the order of equal values open, and
which of them it takes.
"""

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from ancestral.triton_kernels.overridable import operator


def top_ids_reference(z: Float[Tensor, "*b v"], k: int) -> Int64[Tensor, "*b k"]:
    """Return the ids of the k largest values of each row, [.., k].

    Args:
        z: values, [.., v].
        k: number of ids, 1 .. v.
    """
    values, ids = z.topk(k, dim=-1)
    least, order = values[..., -1:], ids.argsort(dim=-1)
    # Sorted by id, then stably by value.
    ids, values = ids.gather(-1, order), values.gather(-1, order)
    order = values.argsort(dim=-1, descending=True, stable=True)
    ids, above = ids.gather(-1, order), values.gather(-1, order) > least
    # All values above the least are among the k. Of those equal to it, the lowest ids follow.
    v = z.shape[-1]
    every = torch.arange(v, dtype=torch.int32, device=z.device)
    lowest = torch.where(z == least, every, v).topk(k, dim=-1, largest=False).values.long()
    place = torch.arange(k, device=z.device) - above.sum(dim=-1, keepdim=True)
    # Of NaN neither is known, but an id of 0 .. v - 1 is returned.
    return torch.where(above, ids, lowest.gather(-1, place.clamp_min(0)).clamp_max(v - 1))


top_ids = operator(
    "top_ids",
    top_ids_reference,
    "(Tensor z, int k) -> Tensor",
    lambda z, k: z.new_empty((*z.shape[:-1], k), dtype=torch.int64),
)
"""`top_ids_reference` as an operator; its ONNX form is compared with the reference."""
