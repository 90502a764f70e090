"""Write a block of values into a buffer, at each row's own position.

buffer'[r, position[r] + i] = block[r, i]        all other slots are unchanged
"""

import torch
from jaxtyping import Int64, Shaped
from torch import Tensor

from ancestral.triton_kernels.overridable import operator


def append_reference(
    buffer: Shaped[Tensor, "b T *k"],
    position: Int64[Tensor, " b"],
    block: Shaped[Tensor, "b s *k"],
    *,
    in_place: bool = False,
) -> Shaped[Tensor, "b T *k"]:
    """Return the buffer with slots position .. position + s - 1 of each row written.

    Args:
        buffer: [b, T] or [b, T, k], any dtype.
        position: first slot of each row, [b] int64; position + s <= T.
        block: [b, s] or [b, s, k], the buffer's dtype.
        in_place: write into a buffer [b, T, k], which is large; for a caller that owns it.
    """
    slots = position[:, None] + torch.arange(block.shape[1], device=buffer.device)
    if buffer.ndim > 2:
        slots = slots[..., None].expand(block.shape)
        if in_place:
            return buffer.scatter_(1, slots, block)
    return buffer.scatter(1, slots, block)


append = operator(
    "append",
    append_reference,
    "(Tensor buffer, Tensor position, Tensor block) -> Tensor",
    lambda buffer, *_: torch.empty_like(buffer),
)
"""`append_reference` as an operator; its other forms are compared with the reference."""
