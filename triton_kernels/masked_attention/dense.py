"""Causal attention of dense tensors, for a launcher that passes only addresses and integers.

The computation is that of kernel.py. The arguments are in the order in which TensorRT passes them
to a plugin's kernel: inputs, numbers, outputs. Strides follow from the sizes. The scale,
1 / sqrt(d), is not an integer, so it is a constant of the compiled code.

References:
    NVIDIA, TensorRT Python API, tensorrt.plugin.aot_impl: a kernel's arguments.
"""

import math
from typing import Any, no_type_check

import torch
import triton
import triton.language as tl

from ancestral.errors import InvalidInput
from ancestral.triton_kernels.launch import TYPES, Variant
from ancestral.triton_kernels.masked_attention import WIDEST_DENSE, kernel

NUMBERS = ("rows", "heads", "groups", "s", "unit")
"""Arguments between inputs and output: b, h, g, s of q [b, h, s, d] and k [b, g, s, d], and a 1."""


def _entry(specialization: Any) -> str:
    """Return the name of the compiled kernel; the kernels of one engine need different names."""
    kind = specialization.signature["q"].removeprefix("*")
    return f"masked_attention_{kind}_d{specialization.constants['HEAD']}"


# no_type_check: jaxtyping's import hook must not wrap functions that Triton compiles.
@triton.jit(do_not_specialize=list(NUMBERS), repr=_entry)
@no_type_check
def _dense_kernel(
    q, k, v, rows, heads, groups, s, unit, y,
    SCALE: tl.constexpr, NEAR: tl.constexpr, AXIS: tl.constexpr, HEAD: tl.constexpr,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    group = heads // groups
    section = tl.minimum(tl.maximum(NEAR // s, 1) * group, rows * heads)
    head = tl.cast(s, tl.int64) * HEAD
    kernel._kernel(
        q, k, v, q, y, SCALE, 0, s, s, rows, heads, group, section,
        heads * head, head, HEAD, groups * head, head, HEAD, groups * head, head, HEAD, unit,
        False, False, AXIS, HEAD, BLOCK_M, BLOCK_N, BLOCK_D,
    )  # fmt: skip


def dense_variant(d: int, dtype: torch.dtype) -> Variant:
    """Return the kernel for one head size, for any batch size, number of heads and length.

    It computes y [b, s, h, d] from q [b, h, s, d], k and v [b, g, s, d], all dense. A program
    handles BLOCK_M queries of a head: b h ceil(s / BLOCK_M) programs on one axis.

    Raises:
        InvalidInput: the kernels do not support `dtype`, or `d` is above `WIDEST_DENSE`.
    """
    if dtype not in TYPES:
        raise InvalidInput(f"dtype: expected one of {list(TYPES)}, got {dtype}")
    if not 1 <= d <= WIDEST_DENSE:
        raise InvalidInput(f"d: expected a head size of 1 .. {WIDEST_DENSE}, got {d}")
    block_m, block_n, warps, stages = _configuration(d, dtype)
    pointer = f"*{TYPES[dtype]}"
    return Variant(
        name=f"masked_attention dense d={d} {TYPES[dtype]}",
        function=_dense_kernel,
        arguments=dict.fromkeys("qkv", pointer) | dict.fromkeys(NUMBERS, "i32") | {"y": pointer},
        constants={
            "SCALE": d**-0.5 / math.log(2),
            "NEAR": kernel.L2_BYTES // (2 * d * dtype.itemsize),
        }
        | kernel.constants(d, dtype, block_m, block_n),
        warps=warps,
        stages=stages,
        wanted=kernel.wanted(dtype),
    )


def fingerprint() -> str:
    """Return a string that changes with the kernel's source and with the release of Triton."""
    return f"{triton.__version__} {_dense_kernel.cache_key}"


def _configuration(d: int, dtype: torch.dtype) -> tuple[int, int, int, int]:
    """Return the block of queries, the block of slots, the warps and the stages.

    The largest blocks within 48 KiB of shared memory, which any launcher may request; more requires
    a call that not every launcher makes.
    """
    if dtype == torch.float32:
        return (64, 32, 8, 2) if d <= 64 else (32, 16, 8, 2)
    return (128, 64 if d <= 32 else 32, 8, 3) if d <= 64 else (64, 16, 4, 3)
