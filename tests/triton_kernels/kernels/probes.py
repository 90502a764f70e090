"""Kernels that store the results of device functions; they need Triton to be imported."""

import triton
import triton.language as tl

from ancestral.triton_kernels.philox import to_uniform, uniform
from ancestral.triton_kernels.sample_token.draw import first_at, grid
from ancestral.triton_kernels.sample_token.filtered_kernel import _threshold


@triton.jit
def block(given, out):
    """Store the four words for the counter and the key at `given`."""
    c0, c1 = tl.load(given).to(tl.uint32), tl.load(given + 1).to(tl.uint32)
    c2, c3 = tl.load(given + 2).to(tl.uint32), tl.load(given + 3).to(tl.uint32)
    k0, k1 = tl.load(given + 4).to(tl.uint32), tl.load(given + 5).to(tl.uint32)
    w0, w1, w2, w3 = tl.philox_impl(c0, c1, c2, c3, k0, k1, 10)
    tl.store(out, w0.to(tl.int64))
    tl.store(out + 1, w1.to(tl.int64))
    tl.store(out + 2, w2.to(tl.int64))
    tl.store(out + 3, w3.to(tl.int64))


@triton.jit
def fill(u, key, index, length, block_size: tl.constexpr):
    """Store the uniforms of positions 0 .. length - 1 of a row, one block per program."""
    row = tl.program_id(0).to(tl.int64)
    n = tl.program_id(1) * block_size + tl.arange(0, block_size)
    tl.store(u + row * length + n, uniform(key, tl.load(index + row), n), mask=n < length)


@triton.jit
def convert(bits, out):
    """Store the uniforms of eight words."""
    at = tl.arange(0, 8)
    tl.store(out + at, to_uniform(tl.load(bits + at).to(tl.uint32)))


@triton.jit
def threshold(
    z, out, v, least, part,
    count: tl.constexpr, held: tl.constexpr, rows: tl.constexpr, columns: tl.constexpr,
):  # fmt: skip
    """Store the threshold of a row of shifted logits at temperature 1."""
    tl.store(out, _threshold(z, v, 0.0, 1.0, least, part, count, held, rows, columns))


@triton.jit
def first(w, out, target, rows: tl.constexpr, columns: tl.constexpr):
    """Store the index at which the sum of w reaches a target."""
    at = grid(rows, columns)
    tl.store(out, first_at(tl.load(w + at), at, target))
