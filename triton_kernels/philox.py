"""Philox4x32-10 on the device: the bits of `ancestral.philox`, made where a kernel needs them.

References:
    Salmon, Moraes, Dror, Shaw (2011), Parallel random numbers: as easy as 1, 2, 3, section 3.3.
"""

from typing import NamedTuple, no_type_check

import torch
import triton
import triton.language as tl
from torch import Tensor

from ancestral.errors import InvalidInput
from ancestral.triton_kernels.checks import expect, runs_kernels
from ancestral.triton_kernels.variant import Variant

_POSITIONS = 128
"""Of a program of the kernel that fills a table."""


class Seeds(NamedTuple):
    """What the noise of each row is a function of, on the device.

    Attributes:
        key: the low and the high 32 bits of the seed (`ancestral.philox.seed_key`) and the stream,
            [3] int64.
        index: sample index of each row, [b] int64, in 0 .. 2^32 - 1.
    """

    key: Tensor
    # The method of tuples that it hides is of no use here.
    index: Tensor  # type: ignore[assignment]


@triton.jit
@no_type_check
def philox4x32(c0, c1, c2, c3, k0, k1):
    """The four words of a block, of four words of the counter and two of the key, all uint32."""
    for _ in tl.static_range(10):
        high0 = tl.umulhi(c0, tl.full([], 0xD2511F53, tl.uint32))
        low0 = c0 * tl.full([], 0xD2511F53, tl.uint32)
        high1 = tl.umulhi(c2, tl.full([], 0xCD9E8D57, tl.uint32))
        low1 = c2 * tl.full([], 0xCD9E8D57, tl.uint32)
        c0, c1, c2, c3 = high1 ^ c1 ^ k0, low1, high0 ^ c3 ^ k1, low0
        k0 += tl.full([], 0x9E3779B9, tl.uint32)
        k1 += tl.full([], 0xBB67AE85, tl.uint32)
    return c0, c1, c2, c3


@triton.jit
@no_type_check
def to_uniform(bits):
    """Midpoints of the 2^23 equal cells of (0, 1), exact in fp32."""
    return ((bits >> 9).to(tl.float32) + 0.5) * 1.1920928955078125e-07


@triton.jit
@no_type_check
def uniform(key, index, position):
    """The uniform of a sample index at a position, or at many: particle 0.

    Args:
        key: pointer to the two words of the seed and to the stream, int64.
        index: of the sample, int64.
        position: integers.
    """
    at = position.to(tl.uint32)
    zero = at ^ at
    k0 = tl.load(key).to(tl.uint32) + zero
    k1 = tl.load(key + 1).to(tl.uint32) + zero
    stream = tl.load(key + 2).to(tl.uint32) + zero
    word, _, _, _ = philox4x32(at, index.to(tl.uint32) + zero, zero, stream, k0, k1)
    return to_uniform(word)


@triton.jit
@no_type_check
def _fill(u, key, index, T, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    n = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    tl.store(u + row * T + n, uniform(key, tl.load(index + row), n), mask=n < T)


def launch(seeds: Seeds, T: int) -> Tensor:
    """The uniforms of positions 0 .. T - 1, [b, T] float32: those of `ancestral.philox.uniforms`.

    Raises:
        InvalidInput: seeds of another shape, dtype or device, or no positions.
    """
    check(seeds, seeds.index.shape[0] if seeds.index.ndim else 0, seeds.key.device)
    if not 1 <= T < 2**31:
        raise InvalidInput(f"T: expected 1 .. 2^31 - 1 positions, got {T}")
    b = len(seeds.index)
    u = torch.empty(b, T, device=seeds.key.device)
    if b:
        _fill[(b, triton.cdiv(T, _POSITIONS))](
            u, seeds.key, seeds.index, T, BLOCK=_POSITIONS, num_warps=1
        )
    return u


def check(seeds: Seeds, b: int, device: torch.device) -> None:
    """Refuse seeds that are not those of b rows on a device.

    Raises:
        InvalidInput: they are not.
    """
    runs_kernels(device)
    expect("key", seeds.key, (3,), torch.int64, device)
    expect("index", seeds.index, (b,), torch.int64, device)


def variants() -> list[Variant]:
    """The table of uniforms."""
    return [
        Variant(
            name="philox",
            function=_fill,
            arguments={"u": "*fp32", "key": "*i64", "index": "*i64", "T": "i32"},
            constants={"BLOCK": _POSITIONS},
            warps=1,
            stages=3,
            divisible=("u", "key", "index"),
        )
    ]
