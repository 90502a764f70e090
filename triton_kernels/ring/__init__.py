"""A delay line: keep the last R vectors of each row, and read some of them.

    ring'[r, position[r] mod R] = value[r]
    taps[r, i] = ring'[r, (position[r] + offset_i) mod R],    0 where position[r] + offset_i < 0

with offsets in -(R - 1) .. 0. Slot n mod R holds the vector of position n. A row that begins again
at position 0 never reads vectors of an earlier event, whatever the slots hold. All reads come after
the write, so the ring may be updated in place. The cost of a step does not depend on R.

References:
    Paine et al. (2016), Fast WaveNet generation algorithm, arXiv:1611.09482.
    Ramachandran et al. (2017), Fast generation for convolutional autoregressive models,
    arXiv:1704.06001.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from ancestral.triton_kernels.overridable import operator


def ring_reference(
    buffer: Float[Tensor, "b 1 R d"],
    value: Float[Tensor, "b 1 d"],
    position: Int64[Tensor, " b"],
    offsets: Sequence[int],
) -> tuple[Float[Tensor, "b n d"], Float[Tensor, "b 1 R d"]]:
    """Write a vector at each row's position, and read the vectors at some offsets from it.

    Args:
        buffer: ring, [b, 1, R, d]; slots that were not written may hold any finite values.
        value: new vector, [b, 1, d].
        position: position of each row, [b] int64.
        offsets: n offsets in -(R - 1) .. 0.

    Returns:
        taps [b, n, d], and the buffer with one slot per row written.
    """
    length, rows = buffer.shape[2], torch.arange(len(buffer), device=buffer.device)
    written = buffer.clone()
    written[rows, 0, position % length] = value[:, 0]
    at = position[:, None] + torch.tensor(offsets, device=buffer.device)
    taps = written[rows[:, None], 0, at % length]
    return torch.where(at[..., None] < 0, 0.0, taps), written


ring = operator(
    "ring",
    ring_reference,
    "(Tensor buffer, Tensor value, Tensor position, int[] offsets) -> (Tensor, Tensor)",
    lambda buffer, value, position, offsets: (
        buffer.new_empty(buffer.shape[0], len(offsets), buffer.shape[3]),
        torch.empty_like(buffer),
    ),
)
"""`ring_reference` as an operator; its other forms are compared with the reference."""
