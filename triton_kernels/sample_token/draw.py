"""Shared code of the kernels that draw: noise, inversion, and recording of the result."""

from typing import no_type_check

import triton
import triton.language as tl

from ancestral.triton_kernels import philox

SHORT = 8_192
"""Largest number of logits in a row that stays in the registers of one program."""
TILE = 2_048
"""Logits of a longer row that each of its programs sums."""
BEYOND = tl.constexpr(2**20)
"""A number above every index."""
_TILE = tl.constexpr(TILE)


@triton.jit
@no_type_check
def grid(ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    """Return indices 0 .. ROWS x COLUMNS - 1, row by row."""
    return tl.arange(0, ROWS)[:, None] * COLUMNS + tl.arange(0, COLUMNS)[None, :]


@triton.jit
@no_type_check
def load(logits, at, v):
    """Load logits in fp32, -inf beyond the last."""
    return tl.load(logits + at, mask=at < v, other=-float("inf")).to(tl.float32)


@triton.jit
@no_type_check
def uniform(noise, index, row, n, T, SEEDED: tl.constexpr):
    """Return a row's u: read from the table, or computed from the key and the sample index."""
    if SEEDED:
        return philox.uniform(noise, tl.load(index + row), n)
    else:
        return tl.load(noise + row * T + n)


@triton.jit
@no_type_check
def first_at(w, at, target):
    """Return the first of `at` [r, c], row by row, where the running sum of w reaches the target.

    Only indices with w > 0 count. The result is the last of them if rounding keeps every sum below
    the target, and 0 if w is 0 everywhere. A parallel sum may fall in its last bits, so every index
    is compared.
    """
    sums = tl.sum(w, axis=1)
    before = tl.cumsum(sums, axis=0) - sums
    reached = before[:, None] + tl.cumsum(w, axis=1) >= target
    # One minimum finds both: indices that fall short come in reverse order after all others.
    order = tl.where(w > 0, tl.where(reached, at, 2 * BEYOND - at), 2 * BEYOND)
    least = tl.min(order)
    return tl.where(least < BEYOND, least, 2 * BEYOND - least)


@triton.jit
@no_type_check
def divided(z, temperature):
    """Return z divided by a temperature above 0."""
    if temperature != 1.0:
        z = tl.div_rn(z, temperature)
    return z


@triton.jit
@no_type_check
def cooled(logits, at, v, top, temperature):
    """Return logits minus their maximum, divided by a temperature above 0."""
    return divided(load(logits, at, v) - top, temperature)


@triton.jit
@no_type_check
def first_maximum(logits, v, top, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    """Return the first value with the highest logit."""
    first = tl.full([ROWS, COLUMNS], BEYOND, tl.int32)
    for start in range(0, v, ROWS * COLUMNS):
        at = start + grid(ROWS, COLUMNS)
        first = tl.minimum(first, tl.where(load(logits, at, v) == top, at, BEYOND))
    return tl.min(first)


@triton.jit
@no_type_check
def merge(tops, sums, row, v, temperature, TILES: tl.constexpr):
    """Return the maximum of a row summed in tiles, and each tile's sum of exp((l - max) / T)."""
    tile, tiles = grid(1, TILES), tl.cdiv(v, _TILE)
    at, inside = row * tiles + tile, tile < tiles
    top = tl.load(tops + at, mask=inside, other=-float("inf"))
    most = tl.max(tl.max(top, axis=1), axis=0)
    below = tl.exp(divided(top - most, temperature))
    return most, tl.load(sums + at, mask=inside, other=0.0) * below


@triton.jit
@no_type_check
def descend(masses, target, TILES: tl.constexpr):
    """Return the tile of [1, TILES] that contains the target, and the rest of the target in it."""
    tile = grid(1, TILES)
    held = first_at(masses, tile, target)
    return held, target - tl.sum(tl.where(tile < held, masses, 0.0))


@triton.jit
@no_type_check
def record(logits, v, top, total, position, values, log_ps, row, n, T, value):
    """Write a value and its log p at n (0 and NaN for a value >= v), and move the row to n + 1."""
    l = tl.load(logits + value, mask=value < v, other=float("nan")).to(tl.float32)
    tl.store(values + row * T + n, tl.where(value < v, value, 0))
    tl.store(log_ps + row * T + n, l - top - tl.log(total))
    # Every warp must have read the position before one writes it.
    tl.debug_barrier()
    tl.store(position + row, n + 1)
