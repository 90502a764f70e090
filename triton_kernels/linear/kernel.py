"""The map in one kernel: one program per tile of rows and columns, over the whole reduction.

With few rows and narrow tiles, one chain of sums over i would take longer than reading the weight.
The reduction is therefore split into parts, which are summed in parallel and added in a fixed order
at the end.

    16 bits             four products on the tensor cores
    fp32                one product with an axis of parts, which the warps share
    fp32, transposed    one part per lane: x and the weight are both contiguous along i, and reading
                        tiles of a product from shared memory would cause bank conflicts

Tiles depend on the sizes, the dtype and the order of the weight, never on the number of rows, so
the bits of a row do not depend on its batch.
"""

from functools import partial
from typing import Any, NamedTuple, no_type_check

import torch
import triton
import triton.language as tl
from torch import Tensor

from ancestral.errors import InvalidInput
from ancestral.triton_kernels.dot import dot
from ancestral.triton_kernels.launch import FLOATS, TYPES, Variant, expect, runs_kernels
from ancestral.triton_kernels.linear import ACTIVATIONS, Activation, linear
from ancestral.triton_kernels.overridable import Settings, Table
from ancestral.triton_kernels.quantised_linear import Quantised

FEW_ROWS = 64
"""Above this many rows a product is compute-bound, and PyTorch's own library runs it."""


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


# Triton would specialise the code for rows == 1: all batch sizes must run the same code.
@triton.jit(do_not_specialize=["rows"])
@no_type_check
def _kernel(
    x, weight, bias, out,
    rows, i, width, stride,
    ACTIVATION: tl.constexpr, BIAS: tl.constexpr, TRANSPOSED: tl.constexpr,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr, RESULTS: tl.constexpr,
    PARTS: tl.constexpr, PART: tl.constexpr, STAGES: tl.constexpr,
):  # fmt: skip
    # Programs that share columns of the weight are adjacent, so that they run together.
    tiles = tl.cdiv(rows, ROWS)
    row = (tl.program_id(0) % tiles) * ROWS + tl.arange(0, ROWS)
    first = (tl.program_id(0) // tiles) * RESULTS
    each = tl.arange(0, COLUMNS)
    # With swiglu the gates come first, then their values: RESULTS is COLUMNS / 2.
    result = first + each % RESULTS
    column = result + (each // RESULTS) * width
    x_row = x + row.to(tl.int64) * stride
    inside_x, inside_weight = row < rows, result < width
    if TRANSPOSED:
        weight_column = weight + column.to(tl.int64) * i
        step = 1
    else:
        weight_column = weight + column
        step = tl.cast(width * (COLUMNS // RESULTS), tl.int64)
    if x.dtype.element_ty != tl.float32:
        y = _by_products(
            x_row, weight_column, inside_x, inside_weight, i, step, ROWS, COLUMNS, PART, STAGES
        )
    elif TRANSPOSED:
        y = _by_lanes(
            x_row, weight_column, inside_x, inside_weight, i, ROWS, COLUMNS, PARTS, STAGES
        )
    else:
        y = _by_batched_product(
            x_row, weight_column, inside_x, inside_weight, i, step,
            ROWS, COLUMNS, PARTS, PART, STAGES,
        )  # fmt: skip
    if BIAS:
        added = tl.load(bias + column, mask=inside_weight, other=0.0)
        y += added.to(tl.float32)[None, :]
    if ACTIVATION == "swiglu":
        gate, value = tl.split(tl.permute(tl.reshape(y, [ROWS, 2, RESULTS]), [0, 2, 1]))
        y = gate * _sigmoid(gate) * value
    else:
        y = _activated(y, ACTIVATION)
    result = first + tl.arange(0, RESULTS)
    at = out + row[:, None].to(tl.int64) * width + result[None, :]
    tl.store(at, y.to(out.dtype.element_ty), mask=inside_x[:, None] & (result < width)[None, :])


@triton.jit
@no_type_check
def _by_products(
    x_row, weight_column, inside_x, inside_weight, i, step,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr, PART: tl.constexpr, STAGES: tl.constexpr,
):  # fmt: skip
    """Sum by four products at a time, each of which waits only for its own partial sum."""
    k = tl.arange(0, PART)
    a_at = x_row[:, None] + k[None, :]
    b_at = weight_column[None, :] + k[:, None] * step
    s0 = tl.zeros([ROWS, COLUMNS], tl.float32)
    s1, s2, s3 = s0, s0, s0
    for start in tl.range(0, i, 4 * PART, num_stages=STAGES):
        left = i - start
        s0 = _product(a_at, b_at, inside_x, inside_weight, left, s0, PART)
        a_at, b_at = a_at + PART, b_at + PART * step
        s1 = _product(a_at, b_at, inside_x, inside_weight, left - PART, s1, PART)
        a_at, b_at = a_at + PART, b_at + PART * step
        s2 = _product(a_at, b_at, inside_x, inside_weight, left - 2 * PART, s2, PART)
        a_at, b_at = a_at + PART, b_at + PART * step
        s3 = _product(a_at, b_at, inside_x, inside_weight, left - 3 * PART, s3, PART)
        a_at, b_at = a_at + PART, b_at + PART * step
    return (s0 + s1) + (s2 + s3)


@triton.jit
@no_type_check
def _product(a_at, b_at, inside_x, inside_weight, left, sums, PART: tl.constexpr):
    k = tl.arange(0, PART)
    a = tl.load(a_at, mask=inside_x[:, None] & (k < left)[None, :], other=0.0)
    b = tl.load(b_at, mask=inside_weight[None, :] & (k < left)[:, None], other=0.0)
    return dot(a, b, sums)


@triton.jit
@no_type_check
def _by_batched_product(
    x_row, weight_column, inside_x, inside_weight, i, step,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr, PARTS: tl.constexpr, PART: tl.constexpr,
    STAGES: tl.constexpr,
):  # fmt: skip
    """Sum by one batched product; its batch axis holds the parts, divided among the warps."""
    k = tl.arange(0, PARTS)[:, None] * PART + tl.arange(0, PART)[None, :]
    a_at = x_row[None, :, None] + k[:, None, :]
    b_at = weight_column[None, None, :] + k[:, :, None] * step
    sums = tl.zeros([PARTS, ROWS, COLUMNS], tl.float32)
    for start in tl.range(0, i, PARTS * PART, num_stages=STAGES):
        inside = k < i - start
        a = tl.load(a_at, mask=inside_x[None, :, None] & inside[:, None, :], other=0.0)
        b = tl.load(b_at, mask=inside_weight[None, None, :] & inside[:, :, None], other=0.0)
        sums = dot(a, b, sums)
        a_at += PARTS * PART
        b_at += PARTS * PART * step
    return _added(tl.permute(sums, [1, 2, 0]), ROWS, COLUMNS, PARTS)


@triton.jit
@no_type_check
def _by_lanes(
    x_row, weight_column, inside_x, inside_weight, i,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr, PARTS: tl.constexpr, STAGES: tl.constexpr,
):  # fmt: skip
    """Sum in each lane of a warp: lane n has the terms n, n + PARTS, n + 2 PARTS, ..."""
    k = tl.arange(0, PARTS)
    a_at = x_row[:, None] + k[None, :]
    b_at = weight_column[:, None] + k[None, :]
    sums = tl.zeros([ROWS, COLUMNS, PARTS], tl.float32)
    for start in tl.range(0, i, PARTS, num_stages=STAGES):
        inside = (k < i - start)[None, :]
        a = tl.load(a_at, mask=inside_x[:, None] & inside, other=0.0)
        b = tl.load(b_at, mask=inside_weight[:, None] & inside, other=0.0)
        sums += a[:, None, :] * b[None, :, :]
        a_at += PARTS
        b_at += PARTS
    return _added(sums, ROWS, COLUMNS, PARTS)


@triton.jit
@no_type_check
def _added(sums, ROWS: tl.constexpr, COLUMNS: tl.constexpr, PARTS: tl.constexpr):
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


def configuration(i: int, o: int, transposed: bool, dtype: torch.dtype) -> Tiles:
    """Return the tiles for an i x o weight: narrow if wide ones would be too few to fill a GPU."""
    if dtype != torch.float32:
        columns, most = (16, 64) if o <= 1024 else (32, 64) if o <= 4096 else (64, 32)
        part = min(max(triton.next_power_of_2(triton.cdiv(i, 4)), 16), most)
        return Tiles(32, columns, 4, part, warps=2 if columns == 16 else 4, stages=4)
    if transposed:
        return Tiles(16, 32, 32, 1, warps=4, stages=7)
    if o <= 1024:
        return Tiles(8, 16, 16, 16, warps=4, stages=4)
    rows, columns, parts = (8, 32, 2) if o <= 4096 else (16, 64, 1)
    warps, stages = (4, 4) if i <= 512 else (8, 3)
    return Tiles(rows, columns, parts * warps, 16, warps, stages)


def launch(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    activation: Activation = "none",
    transposed: bool = False,
    wide: bool = False,
) -> Tensor:
    """Run `linear` for x and weight of one dtype; the sums are in fp32.

    Args:
        x: [*b, i]; the last axis is contiguous, rows may have any stride.
        weight: [i, o] or [o, i].
        bias: [o] in x's dtype or in float32.
        activation: as in `linear`.
        transposed: as in `linear`.
        wide: as in `linear`.

    Raises:
        InvalidInput: shapes, dtypes or devices do not match, an axis has size 0, the width is odd
            with swiglu, or the activation is unknown.
    """
    runs_kernels(x.device)
    if x.ndim < 1 or weight.ndim != 2 or not x.shape[-1] or not weight.numel():
        raise InvalidInput(
            f"x, weight: expected x [*b, i] and a 2-D weight, without axes of size 0, "
            f"got {tuple(x.shape)} and {tuple(weight.shape)}"
        )
    i, o = x.shape[-1], weight.shape[0 if transposed else 1]
    if activation not in ACTIVATIONS:
        raise InvalidInput(f"activation: expected one of {ACTIVATIONS}, got {activation!r}")
    halved = activation == "swiglu"
    if halved and o % 2:
        raise InvalidInput(f"weight: expected an even width for swiglu, got {o}")
    expect("x", x, tuple(x.shape), FLOATS, x.device, strided=True)
    expect("weight", weight, (o, i) if transposed else (i, o), x.dtype, x.device)
    if bias is not None:
        expect("bias", bias, (o,), (x.dtype, torch.float32), x.device)
    width = o // 2 if halved else o
    out = x.new_empty(*x.shape[:-1], width, dtype=torch.float32 if wide else x.dtype)
    flat = x.reshape(-1, i)
    tiles = configuration(i, o, transposed, x.dtype)
    constants = _constants(tiles, activation, bias is not None, transposed)
    if flat.shape[0]:
        programs = triton.cdiv(flat.shape[0], tiles.rows) * triton.cdiv(width, constants["RESULTS"])
        _kernel[(programs,)](
            flat, weight, weight if bias is None else bias, out,
            flat.shape[0], i, width, flat.stride(0),
            **constants, num_warps=tiles.warps, num_stages=tiles.stages,
        )  # fmt: skip
    return out


def _constants(
    tiles: Tiles, activation: Activation, bias: bool, transposed: bool
) -> dict[str, Any]:
    """Return the compile-time constants of the kernel."""
    results = tiles.columns // 2 if activation == "swiglu" else tiles.columns
    return {
        "ACTIVATION": activation, "BIAS": bias, "TRANSPOSED": transposed,
        "ROWS": tiles.rows, "COLUMNS": tiles.columns, "RESULTS": results,
        "PARTS": tiles.parts, "PART": tiles.part, "STAGES": tiles.stages,
    }  # fmt: skip


def overrides(settings: Settings) -> Table:
    """Return the kernel of `linear`, for few rows or where the batch must not change the bits."""
    return {linear: partial(_linear, settings.batch_invariant)}


def _linear(
    batch_invariant: bool, x: Tensor, weight: Tensor | Quantised, *rest: Any, **settings: Any
) -> Tensor:
    if isinstance(weight, Quantised):
        return linear(x, weight, *rest, **settings)
    few = x.numel() <= FEW_ROWS * x.shape[-1]
    run = launch if batch_invariant or few else linear
    return run(x, weight, *rest, **settings)


def variants() -> list[Variant]:
    """Return kernels for the image model, GPT-2, and a Llama with 32 heads of size 128."""
    maps: list[tuple[int, int, Activation, bool]] = [
        (128, 384, "none", False),
        (128, 512, "gelu", False),
        (512, 128, "none", False),
        (768, 2304, "none", False),
        (768, 3072, "gelu_tanh", False),
        (3072, 768, "none", False),
        (768, 50_257, "none", True),
        (4096, 28_672, "swiglu", False),
    ]
    return [_variant(*each, dtype) for each in maps for dtype in FLOATS]


def _variant(
    i: int, o: int, activation: Activation, transposed: bool, dtype: torch.dtype
) -> Variant:
    tiles = configuration(i, o, transposed, dtype)
    halved, pointers = activation == "swiglu", ("x", "weight", "bias", "out")
    width = o // 2 if halved else o
    # A transposed weight is a tied head: its logits are fp32, and it has no bias.
    kinds = dict.fromkeys(pointers, f"*{TYPES[dtype]}")
    kinds["out"] = "*fp32" if transposed else kinds["out"]
    sizes = {"i": i, "width": width, "stride": i}
    return Variant(
        name=f"linear {i}x{o}{'^T' if transposed else ''} {activation} {TYPES[dtype]}",
        function=_kernel,
        arguments=kinds | dict.fromkeys(("rows", *sizes), "i32"),
        constants=_constants(tiles, activation, not (transposed or halved), transposed),
        warps=tiles.warps,
        stages=tiles.stages,
        divisible=tuple(name for name, size in sizes.items() if size % 16 == 0),
        wanted=("LDGSTS.E.BYPASS", "FFMA" if dtype == torch.float32 else "HMMA"),
    )
