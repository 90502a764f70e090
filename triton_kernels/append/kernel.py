"""Append a block of values to a buffer: one program per row."""

from typing import no_type_check

import torch
import triton
import triton.language as tl
from torch import Tensor

from ancestral.triton_kernels.append import append
from ancestral.triton_kernels.launch import Variant, expect, runs_kernels
from ancestral.triton_kernels.overridable import Settings, Table

DTYPES = (torch.float32, torch.bfloat16, torch.float16, torch.int64)


@triton.jit(do_not_specialize=["stride", "s"])
@no_type_check
def _kernel(buffer, position, values, stride, T, s, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    n = tl.load(position + row)
    i = tl.arange(0, BLOCK)
    inside = (i < s) & (n >= 0) & (n + s <= T)
    tl.store(
        buffer + row * T + n + i,
        tl.load(values + row * stride + i, mask=inside, other=0),
        mask=inside,
    )


def launch(buffer: Tensor, position: Tensor, block: Tensor) -> Tensor:
    """Run the operator in place and return the buffer; a row whose block does not fit is unchanged.

    Raises:
        InvalidInput: shapes, dtypes or devices do not match.
    """
    runs_kernels(buffer.device)
    if buffer.ndim > 2:
        # k values of a slot are adjacent: a block of them, k times as long, k times as far.
        k = buffer.shape[-1]
        launch(buffer.flatten(1), position * k, block.flatten(1))
        return buffer
    (b, length), s = buffer.shape, block.shape[-1]
    expect("buffer", buffer, (b, length), DTYPES, buffer.device)
    expect("position", position, (b,), torch.int64, buffer.device)
    expect("block", block, (b, s), buffer.dtype, buffer.device, strided=True)
    if b * s:
        _kernel[(b,)](
            buffer, position, block, block.stride(0), length, s,
            BLOCK=triton.next_power_of_2(s), num_warps=1,
        )  # fmt: skip
    return buffer


def overrides(_: Settings) -> Table:
    """Return the kernel of the operator, which works in place."""
    return {append._opoverload: launch}


def variants() -> list[Variant]:
    """Return the kernels for one value per row: tokens, and log-probabilities."""
    return [
        Variant(
            name=f"append {dtype}",
            function=_kernel,
            arguments={"buffer": f"*{dtype}", "position": "*i64", "values": f"*{dtype}"}
            | dict.fromkeys(("stride", "T", "s"), "i32"),
            constants={"BLOCK": 1},
            divisible=("T",),
        )
        for dtype in ("i64", "fp32")
    ]
