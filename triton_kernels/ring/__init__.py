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

from ancestral.triton_kernels.references import unless_references


@torch.library.custom_op("ancestral::ring", mutates_args=())
def ring(
    buffer: Tensor, value: Tensor, position: Tensor, offsets: Sequence[int]
) -> tuple[Tensor, Tensor]:
    """Write a vector at each row's position, and read those at some offsets from it.

    Args:
        buffer: [b, 1, R, d]; slots that were not written may hold anything finite.
        value: [b, 1, d].
        position: [b] int64.
        offsets: n of them, in -(R - 1) .. 0.

    Returns:
        taps [b, n, d], and the buffer with one slot written.
    """
    return ring_reference(buffer, value, position, offsets)


def ring_reference(
    buffer: Float[Tensor, "b 1 R d"],
    value: Float[Tensor, "b 1 d"],
    position: Int64[Tensor, " b"],
    offsets: Sequence[int],
) -> tuple[Float[Tensor, "b n d"], Float[Tensor, "b 1 R d"]]:
    """The operator in plain PyTorch: the truth that every other form is compared with."""
    length, rows = buffer.shape[2], torch.arange(len(buffer), device=buffer.device)
    written = buffer.clone()
    written[rows, 0, position % length] = value[:, 0]
    at = position[:, None] + torch.tensor(offsets, device=buffer.device)
    taps = written[rows[:, None], 0, at % length]
    return torch.where(at[..., None] < 0, 0.0, taps), written


@torch.library.custom_op("ancestral::ring_", mutates_args=("buffer",))
def ring_(buffer: Tensor, value: Tensor, position: Tensor, offsets: Sequence[int]) -> Tensor:
    """The same with the buffer written in place: taps alone."""
    taps, written = ring_reference(buffer, value, position, offsets)
    buffer.copy_(written)
    return taps


@ring.register_kernel("cuda")
@unless_references(ring_reference)
def _(
    buffer: Tensor, value: Tensor, position: Tensor, offsets: Sequence[int]
) -> tuple[Tensor, Tensor]:
    from ancestral.triton_kernels.ring.kernel import launch

    return launch(buffer.clone(), value, position, offsets)


@ring_.register_kernel("cuda")
def _(buffer: Tensor, value: Tensor, position: Tensor, offsets: Sequence[int]) -> Tensor:
    from ancestral.triton_kernels.ring.kernel import launch

    return launch(buffer, value, position, offsets)[0]


@ring_.register_fake
def _(buffer: Tensor, value: Tensor, position: Tensor, offsets: Sequence[int]) -> Tensor:
    b, _, _, d = buffer.shape
    return buffer.new_empty(b, len(offsets), d)


@ring.register_fake
def _(
    buffer: Tensor, value: Tensor, position: Tensor, offsets: Sequence[int]
) -> tuple[Tensor, Tensor]:
    b, _, _, d = buffer.shape
    return buffer.new_empty(b, len(offsets), d), torch.empty_like(buffer)
