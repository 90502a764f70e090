"""Philox4x32-10 on the device: the bits of `ancestral.philox`, computed inside a kernel.

References:
    Salmon, Moraes, Dror, Shaw (2011), Parallel random numbers: as easy as 1, 2, 3, section 3.3.
"""

from typing import no_type_check

import triton
import triton.language as tl


@triton.jit
@no_type_check
def to_uniform(bits):
    """Map 32 random bits to midpoints of the 2^23 equal cells of (0, 1), exact in fp32."""
    return ((bits >> 9).to(tl.float32) + 0.5) * 1.1920928955078125e-07


@triton.jit
@no_type_check
def uniform(key, index, position):
    """Return the uniform of a sample index at one or more positions, for particle 0.

    Args:
        key: pointer to the two words of the seed and the stream, int64.
        index: index of the sample, int64.
        position: one or more positions, integers.
    """
    at = position.to(tl.uint32)
    zero = at ^ at
    k0 = tl.load(key).to(tl.uint32) + zero
    k1 = tl.load(key + 1).to(tl.uint32) + zero
    stream = tl.load(key + 2).to(tl.uint32) + zero
    word, _, _, _ = tl.philox_impl(at, index.to(tl.uint32) + zero, zero, stream, k0, k1, 10)
    return to_uniform(word)
