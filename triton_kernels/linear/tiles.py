"""Tiles of a linear map: their sizes, and what the programs of its kernels share."""

from typing import NamedTuple, no_type_check

import torch
import triton
import triton.language as tl

from ancestral.errors import InvalidInput
from ancestral.triton_kernels.linear import ACTIVATIONS, Activation


class Tiles(NamedTuple):
    """How the work is divided into programs.

    Attributes:
        rows: rows of x per program.
        columns: columns of the weight per program; with swiglu half are gates, half are values.
        parts: parts of the reduction that are summed in parallel.
        part: terms of each part that are loaded at a time.
        warps: warps per program.
        stages: pipeline stages of the loop over the reduction: the loads ahead, and the sum.
    """

    rows: int
    columns: int
    parts: int
    part: int
    warps: int
    stages: int


def configuration(i: int, o: int, transposed: bool, dtype: torch.dtype) -> Tiles:
    """Return the tiles for an i x o weight: narrow if wide ones would be too few to fill a GPU."""
    if dtype != torch.float32:
        columns, most = (16, 64) if o <= 1024 else (32, 64) if o <= 4096 else (64, 32)
        part = min(max(triton.next_power_of_2(triton.cdiv(i, 4)), 16), most)
        return Tiles(32, columns, 4, part, warps=2 if columns == 16 else 4, stages=4)
    return Tiles(16, 32, 32, 1, warps=4, stages=7) if transposed else fp32_configuration(i, o)


def fp32_configuration(i: int, o: int) -> Tiles:
    """Return the tiles of one product in fp32 with an axis of parts."""
    if o <= 1024:
        return Tiles(8, 16, 16, 16, warps=4, stages=4)
    rows, columns, parts = (8, 32, 2) if o <= 4096 else (16, 64, 1)
    warps, stages = (4, 4) if i <= 512 else (8, 3)
    return Tiles(rows, columns, parts * warps, 16, warps, stages)


def tile_constants(tiles: Tiles, activation: Activation) -> dict[str, int]:
    """Return the compile-time constants of a kernel that depend on its tiles."""
    return {
        "ROWS": tiles.rows, "COLUMNS": tiles.columns, "RESULTS": results(tiles.columns, activation),
        "PARTS": tiles.parts, "PART": tiles.part, "STAGES": tiles.stages,
    }  # fmt: skip


def results(o: int, activation: Activation) -> int:
    """Return the number of features that a map to o columns gives.

    Raises:
        InvalidInput: the activation is unknown, or o is odd with swiglu.
    """
    if activation not in ACTIVATIONS:
        raise InvalidInput(f"activation: expected one of {ACTIVATIONS}, got {activation!r}")
    if activation == "swiglu" and o % 2:
        raise InvalidInput(f"weight: expected an even width for swiglu, got {o}")
    return o // 2 if activation == "swiglu" else o


@triton.jit
@no_type_check
def place(rows, width, ROWS: tl.constexpr, COLUMNS: tl.constexpr, RESULTS: tl.constexpr):
    """Return the rows of a program, its first result, and the results and columns of its tile.

    Programs that share columns of the weight are adjacent, so that they run together. With swiglu
    the gates come first, then their values: RESULTS is COLUMNS / 2.
    """
    tiles = tl.cdiv(rows, ROWS)
    row = (tl.program_id(0) % tiles) * ROWS + tl.arange(0, ROWS)
    first = (tl.program_id(0) // tiles) * RESULTS
    each = tl.arange(0, COLUMNS)
    result = first + each % RESULTS
    return row, first, result, result + (each // RESULTS) * width


@triton.jit
@no_type_check
def finish(
    y, bias, out, row, first, result, column, rows, width,
    ACTIVATION: tl.constexpr, BIAS: tl.constexpr,
    ROWS: tl.constexpr, RESULTS: tl.constexpr,
):  # fmt: skip
    """Add the bias to a tile [ROWS, COLUMNS], apply the activation, and store the results."""
    if BIAS:
        more = tl.load(bias + column, mask=result < width, other=0.0)
        y += more.to(tl.float32)[None, :]
    if ACTIVATION == "swiglu":
        gate, value = tl.split(tl.permute(tl.reshape(y, [ROWS, 2, RESULTS]), [0, 2, 1]))
        y = gate * _sigmoid(gate) * value
    else:
        y = _activated(y, ACTIVATION)
    stored = first + tl.arange(0, RESULTS)
    at = out + row[:, None].to(tl.int64) * width + stored[None, :]
    inside = (row < rows)[:, None] & (stored < width)[None, :]
    tl.store(at, y.to(out.dtype.element_ty), mask=inside)


@triton.jit
@no_type_check
def added(sums, ROWS: tl.constexpr, COLUMNS: tl.constexpr, PARTS: tl.constexpr):
    """Return the sum of up to 32 parts, the last axis, neighbours first.

    Triton moves them into one thread for the first split, which costs less than shuffles for each.
    """
    for level in tl.static_range(5):
        if PARTS >> level > 1:
            even, odd = tl.split(tl.reshape(sums, [ROWS, COLUMNS, PARTS >> (level + 1), 2]))
            sums = even + odd
    return tl.reshape(sums, [ROWS, COLUMNS])


@triton.jit
@no_type_check
def _activated(y, ACTIVATION: tl.constexpr):
    """Apply an activation in fp32, as the reference does; nothing overflows, and NaN stays NaN."""
    if ACTIVATION == "gelu":
        y = 0.5 * y * (1.0 + tl.math.erf(y * 0.7071067811865476))
    elif ACTIVATION == "gelu_tanh":
        # (1 + tanh u) / 2 is the sigmoid of 2 u, which is 0 or 1 well before |y| = 16.
        near = tl.where(tl.abs(y) < 16.0, y, tl.where(y < 0.0, -16.0, 16.0))
        y = y * _sigmoid(1.5957691216057308 * (near + 0.044715 * near * near * near))
    elif ACTIVATION == "gelu_quick":
        y = y * _sigmoid(1.702 * y)
    elif ACTIVATION == "silu":
        y = y * _sigmoid(y)
    elif ACTIVATION == "relu":
        y = tl.where(y < 0.0, 0.0, y)
    elif ACTIVATION == "tanh":
        y = _tanh(y)
    return y


@triton.jit
@no_type_check
def _sigmoid(y):
    t = tl.exp(-tl.abs(y))
    return tl.where(y < 0.0, t, 1.0) / (1.0 + t)


@triton.jit
@no_type_check
def _tanh(y):
    """Return tanh y by the exponential; for |y| < 1/4, where that cancels, by the series to y^9."""
    t = tl.exp(-2.0 * tl.abs(y))
    far = (1.0 - t) / (1.0 + t)
    near = tl.where(tl.abs(y) < 0.25, y, 0.0)
    s = near * near
    series = s * (62.0 / 2835.0) - 17.0 / 315.0
    series = series * s + 2.0 / 15.0
    series = series * s - 1.0 / 3.0
    near = near + near * s * series
    return tl.where(tl.abs(y) < 0.25, near, tl.where(y < 0.0, -far, far))
