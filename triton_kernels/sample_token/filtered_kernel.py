"""Draw a value with filters: temperature, then top-k, top-p and min-p, found by bisection.

If the sums equal the reference's, the thresholds do too, bit for bit. One round does two halvings
of the interval: it sums the mass above three values. The terms are not negative and their order is
fixed, so a sum does not grow when terms are left out, and the three comparisons give the results of
both halvings. A short row stays in registers; a long row is read again in each round, from the L2
cache of the GPU. Cooled logits need no clamp: no threshold is below LOWEST, where exp z is 0.
"""

from typing import no_type_check

import triton
import triton.language as tl

from ancestral.triton_kernels.filter_threshold import BISECTIONS, LOWEST
from ancestral.triton_kernels.sample_token import draw

_LOWEST = tl.constexpr(LOWEST)
_ROUNDS = tl.constexpr(BISECTIONS // 2)


@triton.jit
@no_type_check
def _above(z, least, low, step, COUNT: tl.constexpr):
    """Return the mass above low + step / 2, low + step and low + 3 step / 2 (twice), [c, 2, 2].

    If COUNT, the mass is the number of values, including those equal to the threshold. Otherwise
    it is the sum of exp z over z >= least, without values equal to the threshold. The third value
    is there twice because `tl.join` takes pairs.
    """
    middle = low + step
    below, beyond = low + 0.5 * step, middle + 0.5 * step
    if COUNT:
        a = tl.where(z >= below, 1.0, 0.0)
        b = tl.where(z >= middle, 1.0, 0.0)
        c = tl.where(z >= beyond, 1.0, 0.0)
    else:
        w = tl.where(z >= least, tl.exp(z), 0.0)
        a = tl.where(z > below, w, 0.0)
        b = tl.where(z > middle, w, 0.0)
        c = tl.where(z > beyond, w, 0.0)
    # One sum over the joined tensors, so that the warps of a program synchronise once.
    return tl.sum(tl.join(tl.join(a, b), tl.join(c, c)), axis=0)


@triton.jit
@no_type_check
def _masses(
    z, logits, v, top, temperature, least, low, step,
    COUNT: tl.constexpr, HELD: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    """Return `_above` summed over a row, [2, 2].

    z is the first block of the row. If HELD, it is the whole row; otherwise the other blocks are
    read again.
    """
    above = _above(z, least, low, step, COUNT)
    if not HELD:
        at = draw.grid(ROWS, COLUMNS)
        for start in range(ROWS * COLUMNS, v, ROWS * COLUMNS):
            z = draw.cooled(logits, start + at, v, top, temperature)
            above += _above(z, least, low, step, COUNT)
    return tl.sum(above, axis=0)


@triton.jit
@no_type_check
def _threshold(
    logits, v, top, temperature, least, part,
    COUNT: tl.constexpr, HELD: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    """Return the largest threshold with enough mass above it: for top-k if COUNT, else for top-p.

    `part` is k for top-k. For top-p, which comes after top-k, it is a fraction of the mass of
    z >= least, where least is the threshold of top-k. If HELD, [ROWS, COLUMNS] is the whole row.
    """
    z = draw.cooled(logits, draw.grid(ROWS, COLUMNS), v, top, temperature)
    low = tl.full([], _LOWEST, tl.float32)
    step = tl.full([], -0.5 * _LOWEST, tl.float32)
    mass = part
    if not COUNT:
        # exp z is 0 up to 2 LOWEST, so the mass above it is the whole mass.
        whole = _masses(
            z, logits, v, top, temperature, least, 2 * low, 0.0, COUNT, HELD, ROWS, COLUMNS
        )
        mass = part * tl.max(tl.max(whole, axis=1), axis=0)
    for _ in range(_ROUNDS):
        masses = _masses(
            z, logits, v, top, temperature, least, low, step, COUNT, HELD, ROWS, COLUMNS
        )
        middle = low + step
        below, beyond = low + 0.5 * step, middle + 0.5 * step
        t = tl.join(tl.join(below, middle), tl.join(beyond, beyond))
        low = tl.max(tl.max(tl.where(masses >= mass, t, low), axis=1), axis=0)
        step *= 0.25
    return low


@triton.jit
@no_type_check
def bounds(
    logits, row, v, top, temperature, top_k, top_p, min_p,
    HELD: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    """Return two bounds: a value stays if z >= the first and z > the second."""
    least = tl.full([], _LOWEST, tl.float32)
    above = tl.full([], -float("inf"), tl.float32)
    k, p, m = tl.load(top_k + row), tl.load(top_p + row), tl.load(min_p + row)
    if k < v:
        least = _threshold(
            logits, v, top, temperature, least, k.to(tl.float32), True, HELD, ROWS, COLUMNS
        )
    if p < 1:
        above = _threshold(logits, v, top, temperature, least, p, False, HELD, ROWS, COLUMNS)
    if m > 0:
        least = tl.maximum(least, tl.log(m))
    return least, above


@triton.jit
@no_type_check
def _kept(z, least, above):
    """Return exp z of the values that stay, 0 for the others."""
    return tl.where((z >= least) & (z > above), tl.exp(z), 0.0)


@triton.jit
@no_type_check
def drawn(
    logits, u, v, top, temperature, least, above,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr, BLOCKS: tl.constexpr,
):  # fmt: skip
    """Return the value that u draws from those that stay, and its log q."""
    at = draw.grid(ROWS, COLUMNS)
    masses = tl.full([1, BLOCKS], 0.0, tl.float32)
    for block in range(tl.cdiv(v, ROWS * COLUMNS)):
        z = draw.cooled(logits, block * ROWS * COLUMNS + at, v, top, temperature)
        masses = tl.where(draw.grid(1, BLOCKS) == block, tl.sum(_kept(z, least, above)), masses)
    mass = tl.sum(masses)
    block, rest = draw.descend(masses, u * mass, BLOCKS)
    at += block * ROWS * COLUMNS
    z = draw.cooled(logits, at, v, top, temperature)
    value = draw.first_at(_kept(z, least, above), at, rest)
    return value, draw.cooled(logits, value, v, top, temperature) - tl.log(mass)
