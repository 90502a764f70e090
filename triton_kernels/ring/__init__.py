"""A delay line: keep the last R vectors of each row, and read some of them back.

    ring'[r, position[r] mod R] = value[r]
    taps[r, i] = ring'[r, (position[r] + offset_i) mod R],    0 where position[r] + offset_i < 0

with offsets in -(R - 1) .. 0: slot n mod R holds the vector of position n. A row that begins again
at position 0 reads nothing that an earlier event left, whatever the slots hold. All reads are of
the ring as it is after the write, so that it may be updated in place. A step costs the same for any
R.

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
    """Write a vector at each row's position, and read those at some offsets from it.

    Args:
        buffer: [b, 1, R, d]; slots that were not written may hold anything finite.
        value: [b, 1, d].
        position: [b] int64.
        offsets: n of them, in -(R - 1) .. 0.

    Returns:
        taps [b, n, d], and the buffer with one slot written.
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
"""`ring_reference` as an operator, which the other forms are compared with."""
