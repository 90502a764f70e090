"""The matrix product of our kernels: exact in fp32, accumulated in fp32."""

from typing import no_type_check

import triton
import triton.language as tl

_WIDENED = tl.constexpr(bool(triton.knobs.runtime.interpret))
"""Triton's interpreter multiplies the bits of bfloat16 as if they were integers."""


@triton.jit
@no_type_check
def dot(a, b, sum):
    """sum + a b, without TF32: [m, n] in fp32 of [m, k] and [k, n]."""
    if _WIDENED:
        a = a.to(tl.float32)
        b = b.to(tl.float32)
    return tl.dot(a, b, sum, input_precision="ieee")
