"""The matrix product of our kernels: without TF32, accumulated in fp32."""

from typing import no_type_check

import triton
import triton.language as tl

_WIDENED = tl.constexpr(bool(triton.knobs.runtime.interpret))
"""Whether to widen operands: Triton's interpreter would multiply bfloat16 bits as integers."""


@triton.jit
@no_type_check
def dot(a, b, sum):
    """Return sum + a b without TF32: [m, n] in fp32, from [m, k] and [k, n]."""
    if _WIDENED:
        a = a.to(tl.float32)
        b = b.to(tl.float32)
    return tl.dot(a, b, sum, input_precision="ieee")
