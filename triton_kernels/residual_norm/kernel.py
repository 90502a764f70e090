"""Residual and norm in one kernel: one program per row, which stays in registers."""

from typing import no_type_check

import torch
import triton
import triton.language as tl
from torch import Tensor

from ancestral.errors import InvalidInput
from ancestral.triton_kernels.launch import FLOATS, TYPES, Variant, expect, runs_kernels
from ancestral.triton_kernels.overridable import Settings, Table
from ancestral.triton_kernels.residual_norm import residual_norm

LARGEST = 16_384
"""Largest width of a row that fits a program's registers."""


# no_type_check: jaxtyping's import hook must not wrap functions that Triton compiles.
@triton.jit
@no_type_check
def _kernel(
    x, y, weight, bias, h_out, n_out, epsilon,
    d,
    RMS: tl.constexpr, BIAS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64)
    at = tl.arange(0, BLOCK)
    inside = at < d
    a = tl.load(x + row * d + at, mask=inside, other=0.0)
    b = tl.load(y + row * d + at, mask=inside, other=0.0)
    # The sum is rounded to the residual stream's dtype; everything after it is in fp32.
    h = (a.to(tl.float32) + b.to(tl.float32)).to(h_out.dtype.element_ty)
    tl.store(h_out + row * d + at, h, mask=inside)
    h = h.to(tl.float32)
    if not RMS:
        mean = tl.sum(h, axis=0) / d
        h = tl.where(inside, h - mean, 0.0)
    n = h / tl.sqrt_rn(tl.sum(h * h, axis=0) / d + epsilon)
    n *= tl.load(weight + at, mask=inside, other=0.0).to(tl.float32)
    if BIAS:
        n += tl.load(bias + at, mask=inside, other=0.0).to(tl.float32)
    tl.store(n_out + row * d + at, n.to(n_out.dtype.element_ty), mask=inside)


def configuration(d: int) -> tuple[int, int]:
    """Return the block and the warps for rows of width d."""
    block = max(32, triton.next_power_of_2(d))
    return block, min(max(block // 256, 1), 8)


def launch(
    x: Tensor, y: Tensor, weight: Tensor, bias: Tensor | None, epsilon: float, rms: bool
) -> tuple[Tensor, Tensor]:
    """Run the operator; the arguments and results are those of `residual_norm_reference`.

    Raises:
        InvalidInput: shapes, dtypes or devices do not match, or the width is not in 1 .. 16,384.
    """
    runs_kernels(x.device)
    d = x.shape[-1]
    if not 1 <= d <= LARGEST:
        raise InvalidInput(f"x: expected a width of 1 .. {LARGEST}, got {d}")
    expect("x", x, tuple(x.shape), FLOATS, x.device)
    expect("y", y, tuple(x.shape), x.dtype, x.device)
    expect("weight", weight, (d,), FLOATS, x.device)
    if bias is not None:
        expect("bias", bias, (d,), FLOATS, x.device)
    h, n = torch.empty_like(x), torch.empty_like(x)
    rows = x.numel() // d
    if rows:
        block, warps = configuration(d)
        _kernel[(rows,)](
            x, y, weight, weight if bias is None else bias, h, n, epsilon, d,
            RMS=rms, BIAS=bias is not None, BLOCK=block, num_warps=warps,
        )  # fmt: skip
    return h, n


def overrides(_: Settings) -> Table:
    """Return the kernel of the operator."""
    return {residual_norm._opoverload: launch}


def variants() -> list[Variant]:
    """Return LayerNorm at the widths of the image model and GPT-2, and RMSNorm at Llama's."""
    return [_variant(d, dtype, rms) for d, rms in ((128, False), (768, False), (4096, True))
            for dtype in FLOATS]  # fmt: skip


def _variant(d: int, dtype: torch.dtype, rms: bool) -> Variant:
    block, warps = configuration(d)
    pointers = ("x", "y", "weight", "bias", "h_out", "n_out")
    return Variant(
        name=f"residual_norm {'rms' if rms else 'layer'} d={d} {TYPES[dtype]}",
        function=_kernel,
        arguments=dict.fromkeys(pointers, f"*{TYPES[dtype]}") | {"epsilon": "fp32", "d": "i32"},
        constants={"RMS": rms, "BIAS": not rms, "BLOCK": block},
        warps=warps,
        divisible=("d",),
        wanted=("LDG.E.128",) if block // (32 * warps) * dtype.itemsize >= 16 else (),
    )
