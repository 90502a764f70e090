"""A ring's write and reads in one kernel: one program per row and block of features."""

from collections.abc import Sequence
from typing import no_type_check

import torch
import triton
import triton.language as tl
from torch import Tensor

from ancestral.errors import InvalidInput
from ancestral.triton_kernels.launch import FLOATS, TYPES, Variant, expect, runs_kernels
from ancestral.triton_kernels.overridable import Settings, Table
from ancestral.triton_kernels.ring import ring


@triton.jit
@no_type_check
def _kernel(
    buffer, value, position, taps, d,
    R: tl.constexpr, TAPS: tl.constexpr, OFFSETS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64)
    n = tl.load(position + row)
    at = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = (at < d) & (n >= 0)
    new = tl.load(value + row * d + at, mask=inside, other=0.0)
    ring = buffer + row * R * d
    tl.store(ring + n % R * d + at, new, mask=inside)
    for i in tl.static_range(TAPS):
        # Only offset 0 reads the slot that was just written; its vector is still in registers.
        if OFFSETS[i] == 0:
            tap = new
        else:
            past = n + OFFSETS[i]
            tap = tl.load(ring + past % R * d + at, mask=inside & (past >= 0), other=0.0)
        tl.store(taps + (row * TAPS + i) * d + at, tap, mask=at < d)


def launch(
    buffer: Tensor, value: Tensor, position: Tensor, offsets: Sequence[int]
) -> tuple[Tensor, Tensor]:
    """Run the operator in place: return the taps [b, n, d] and the buffer itself.

    Raises:
        InvalidInput: shapes, dtypes or devices do not match, or an offset is outside the ring.
    """
    runs_kernels(buffer.device)
    b, _, length, d = buffer.shape
    if not all(-length < offset <= 0 for offset in offsets):
        raise InvalidInput(f"offsets: expected -{length - 1} .. 0, got {list(offsets)}")
    expect("buffer", buffer, (b, 1, length, d), FLOATS, buffer.device)
    expect("value", value, (b, 1, d), buffer.dtype, buffer.device)
    expect("position", position, (b,), torch.int64, buffer.device)
    taps = buffer.new_empty(b, len(offsets), d)
    if b * d:
        block = configuration(d)
        _kernel[(b, triton.cdiv(d, block))](
            buffer, value, position, taps, d,
            R=length, TAPS=len(offsets), OFFSETS=tuple(offsets), BLOCK=block, num_warps=1,
        )  # fmt: skip
    return taps, buffer


def configuration(d: int) -> int:
    """Return the number of features per program."""
    return min(triton.next_power_of_2(d), 128)


def overrides(_: Settings) -> Table:
    """Return the kernel of the operator, which works in place."""
    return {ring._opoverload: launch}


def variants() -> list[Variant]:
    """Return kernels for one dilation of WaveNet, and the neighbourhood of a PixelCNN layer."""
    pointers = ("buffer", "value", "position", "taps")
    return [
        Variant(
            name=f"ring taps={len(offsets)} d=64 {TYPES[dtype]}",
            function=_kernel,
            arguments=dict.fromkeys(pointers, f"*{TYPES[dtype]}")
            | {"position": "*i64", "d": "i32"},
            constants={"R": length, "TAPS": len(offsets), "OFFSETS": offsets}
            | {"BLOCK": configuration(64)},
            divisible=("d",),
        )
        for length, offsets in ((33, (-32,)), (30, (-29, -28, -27, -1, 0)))
        for dtype in FLOATS
    ]
