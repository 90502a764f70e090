"""Write a block of values into a buffer, at each row's own position.

buffer'[r, position[r] + i] = block[r, i]        all other slots are kept
"""

import torch
from jaxtyping import Int64, Shaped
from torch import Tensor

from ancestral.triton_kernels.references import unless_references


@torch.library.custom_op("ancestral::append", mutates_args=())
def append(buffer: Tensor, position: Tensor, block: Tensor) -> Tensor:
    """The buffer with slots position .. position + s - 1 of each row written.

    Args:
        buffer: [b, T], any dtype.
        position: first slot of each row, [b] int64; position + s <= T.
        block: [b, s], the buffer's dtype.
    """
    return append_reference(buffer, position, block)


def append_reference(
    buffer: Shaped[Tensor, "b T"], position: Int64[Tensor, " b"], block: Shaped[Tensor, "b s"]
) -> Shaped[Tensor, "b T"]:
    """The operator in plain PyTorch: the truth that every other form is compared with."""
    slots = position[:, None] + torch.arange(block.shape[1], device=buffer.device)
    return buffer.scatter(1, slots, block)


@torch.library.custom_op("ancestral::append_", mutates_args=("buffer",))
def append_(buffer: Tensor, position: Tensor, block: Tensor) -> None:
    """The same in place."""
    buffer.copy_(append_reference(buffer, position, block))


@append.register_kernel("cuda")
@unless_references(append_reference)
def _(buffer: Tensor, position: Tensor, block: Tensor) -> Tensor:
    from ancestral.triton_kernels.append.kernel import launch

    return launch(buffer.clone(), position, block)


@append_.register_kernel("cuda")
def _(buffer: Tensor, position: Tensor, block: Tensor) -> None:
    from ancestral.triton_kernels.append.kernel import launch

    launch(buffer, position, block)


@append.register_fake
def _(buffer: Tensor, position: Tensor, block: Tensor) -> Tensor:
    return torch.empty_like(buffer)
