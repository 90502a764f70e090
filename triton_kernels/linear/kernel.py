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
from typing import Any, no_type_check

import torch
import triton
import triton.language as tl
from torch import Tensor

from ancestral.errors import InvalidInput
from ancestral.triton_kernels.dot import dot
from ancestral.triton_kernels.launch import FLOATS, TYPES, Variant, expect, runs_kernels
from ancestral.triton_kernels.linear import Activation, linear
from ancestral.triton_kernels.linear.tiles import (
    Tiles,
    added,
    configuration,
    finish,
    place,
    results,
    tile_constants,
)
from ancestral.triton_kernels.overridable import Settings, Table
from ancestral.triton_kernels.quantised_linear import Quantised
from ancestral.triton_kernels.quantised_linear import kernel as quantised_linear

FEW_ROWS = 64
"""Above this many rows a product is compute-bound, and PyTorch's own library runs it."""


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
    row, first, result, column = place(rows, width, ROWS, COLUMNS, RESULTS)
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
    finish(y, bias, out, row, first, result, column, rows, width, ACTIVATION, BIAS, ROWS, RESULTS)


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
    return added(tl.permute(sums, [1, 2, 0]), ROWS, COLUMNS, PARTS)


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
    return added(sums, ROWS, COLUMNS, PARTS)


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
    width = results(o, activation)
    expect("x", x, tuple(x.shape), FLOATS, x.device, strided=True)
    expect("weight", weight, (o, i) if transposed else (i, o), x.dtype, x.device)
    if bias is not None:
        expect("bias", bias, (o,), (x.dtype, torch.float32), x.device)
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
    return {
        "ACTIVATION": activation, "BIAS": bias, "TRANSPOSED": transposed,
        **tile_constants(tiles, activation),
    }  # fmt: skip


def overrides(settings: Settings) -> Table:
    """Return the kernel of `linear`, for few rows or where the batch must not change the bits."""
    return {linear: partial(_linear, settings.batch_invariant)}


def _linear(
    batch_invariant: bool,
    x: Tensor,
    weight: Tensor | Quantised,
    bias: Tensor | None = None,
    activation: Activation = "none",
    transposed: bool = False,
    wide: bool = False,
) -> Tensor:
    few = x.numel() <= FEW_ROWS * x.shape[-1]
    if not (batch_invariant or few):
        return linear(x, weight, bias, activation, transposed, wide)
    if not isinstance(weight, Quantised):
        return launch(x, weight, bias, activation, transposed, wide)
    if quantised_linear.supported(x, weight):
        return quantised_linear.launch(x, weight, bias, activation)
    return linear(x, weight, bias, activation)


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
    width = results(o, activation)
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
