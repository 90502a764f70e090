"""The map with a weight of 4 or 8 bits in one kernel, which reads the codes as they are stored.

A program has a tile of rows and columns, and sums over the whole reduction. The reduction is split
into parts, which are summed in parallel and added in a fixed order at the end.

    float32    codes become numbers of the weight in registers; one product in fp32 with an axis of
               parts of 16 terms
    rounded    a part is a group: its activations are rounded to 8 bits, the sum of products of
               integers is exact in int32, and is multiplied with both scales in fp32

Tiles depend on the sizes, the group and the kind of product, never on the number of rows, so the
bits of a row do not depend on its batch.
"""

from typing import Any, no_type_check

import torch
import triton
import triton.language as tl
from torch import Tensor

from ancestral.errors import InvalidInput
from ancestral.triton_kernels.dot import dot
from ancestral.triton_kernels.launch import Variant, expect, runs_kernels
from ancestral.triton_kernels.linear import Activation
from ancestral.triton_kernels.linear.tiles import (
    Tiles,
    added,
    finish,
    fp32_configuration,
    place,
    results,
    tile_constants,
)
from ancestral.triton_kernels.overridable import Settings, Table
from ancestral.triton_kernels.quantised_linear import Quantised

LARGEST = 256
"""Numbers of the largest group: a group of activations is in registers while it is rounded."""
_TERMS = 16
"""Groups are a multiple of this: a part in float32 has so many terms, all of one group."""
_LEAST = 32
"""Terms of the shortest product of 8-bit integers on tensor cores."""


# Triton would specialise the code for rows == 1: all batch sizes must run the same code.
@triton.jit(do_not_specialize=["rows"])
@no_type_check
def _kernel(
    x, codes, scale, zero, bias, out,
    rows, i, width, stride, groups,
    BITS: tl.constexpr, GROUP: tl.constexpr, ZERO: tl.constexpr, ROUNDED: tl.constexpr,
    ACTIVATION: tl.constexpr, BIAS: tl.constexpr,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr, RESULTS: tl.constexpr,
    PARTS: tl.constexpr, PART: tl.constexpr, STAGES: tl.constexpr,
):  # fmt: skip
    row, first, result, column = place(rows, width, ROWS, COLUMNS, RESULTS)
    # A part has TERMS terms; the others of its tile, up to PART, are masked.
    TERMS: tl.constexpr = GROUP if ROUNDED else PART
    at_row = column.to(tl.int64)[None, :]
    sums = tl.zeros([PARTS, ROWS, COLUMNS], tl.float32)
    for start in tl.range(0, groups * (GROUP // TERMS), PARTS, num_stages=STAGES):
        part = start + tl.arange(0, PARTS)
        group = part // (GROUP // TERMS)
        inside = (group < groups)[:, None] & (result < width)[None, :]
        scales = tl.load(scale + at_row * groups + group[:, None], mask=inside, other=0.0)
        points = _points(zero, at_row, group[:, None], groups, inside, BITS, ZERO)
        weight = _codes(
            codes, at_row, part, groups, inside, BITS, GROUP, TERMS, PARTS, COLUMNS, PART
        )
        terms = tl.arange(0, PART)
        k = part[:, None] * TERMS + terms[None, :]
        used = (k < i) & (terms < TERMS)[None, :]
        a = tl.load(
            x + row.to(tl.int64)[None, :, None] * stride + k[:, None, :],
            mask=(row < rows)[None, :, None] & used[:, None, :], other=0.0,
        )  # fmt: skip
        if ROUNDED:
            sums += _by_integers(a, weight, scales, points, BITS, ZERO)
        else:
            b = (weight.to(tl.float32) - points.to(tl.float32)[:, :, None]) * scales[:, :, None]
            sums = dot(a, tl.permute(b, [0, 2, 1]), sums)
    y = added(tl.permute(sums, [1, 2, 0]), ROWS, COLUMNS, PARTS)
    finish(y, bias, out, row, first, result, column, rows, width, ACTIVATION, BIAS, ROWS, RESULTS)


@triton.jit
@no_type_check
def _codes(
    codes, column, part, groups, inside,
    BITS: tl.constexpr, GROUP: tl.constexpr, TERMS: tl.constexpr,
    PARTS: tl.constexpr, COLUMNS: tl.constexpr, PART: tl.constexpr,
):  # fmt: skip
    """Return the codes of some parts, [PARTS, COLUMNS, PART] uint8."""
    byte = tl.arange(0, PART * BITS // 8)
    first = codes + column * (groups * (GROUP * BITS // 8)) + part[:, None] * (TERMS * BITS // 8)
    stored = tl.load(
        first[:, :, None] + byte[None, None, :],
        mask=inside[:, :, None] & (byte < TERMS * BITS // 8)[None, None, :], other=0,
    )  # fmt: skip
    if BITS == 4:
        # The low half of a byte comes first.
        stored = tl.reshape(tl.join(stored & 15, stored >> 4), [PARTS, COLUMNS, PART])
    return stored


@triton.jit
@no_type_check
def _points(zero, column, group, groups, inside, BITS: tl.constexpr, ZERO: tl.constexpr):
    """Return the zero point of each group, [PARTS, COLUMNS] int32."""
    if ZERO:
        per_byte: tl.constexpr = 8 // BITS
        at = zero + column * tl.cdiv(groups, per_byte) + group // per_byte
        stored = tl.load(at, mask=inside, other=0).to(tl.int32)
        points = (stored >> (group % per_byte) * BITS) & ((1 << BITS) - 1)
    else:
        points = tl.where(inside, 1 << (BITS - 1), 0)
    return points


@triton.jit
@no_type_check
def _by_integers(a, weight, scales, points, BITS: tl.constexpr, ZERO: tl.constexpr):
    """Return r(a) W^T of each part, [PARTS, ROWS, COLUMNS], as `rounded` rounds activations.

    A group whose numbers are all below 1e-36, where 127 / m overflows, counts as zeros.
    """
    MIDDLE: tl.constexpr = 1 << (BITS - 1)
    most = tl.max(tl.abs(a), axis=2)
    steps = tl.where(most > 1e-36, tl.div_rn(127.0, most), 0.0)
    # The product is rounded before the sum, as an fma of Triton's own choice would not do. Adding
    # 1.5 x 2^23 rounds to a whole number, halves to even.
    scaled = tl.fma(a, tl.broadcast_to(steps[:, :, None], a.shape), 0.0)
    whole = ((scaled + 12582912.0) - 12582912.0).to(tl.int8)
    # A maximum ignores NaN, which has to stay: 0 x is NaN if x is not finite, and 0 otherwise.
    unit = tl.div_rn(most, 127.0) + tl.sum(a * 0.0, axis=2)
    # The middle is subtracted first, so that codes are signed bytes.
    signed = (weight - MIDDLE).to(tl.int8, bitcast=True)
    products = tl.dot(whole, tl.permute(signed, [0, 2, 1]), out_dtype=tl.int32)
    if ZERO:
        total = tl.sum(whole.to(tl.int32), axis=2)
        products -= total[:, :, None] * (points - MIDDLE)[:, None, :]
    return products.to(tl.float32) * (unit[:, :, None] * scales[:, None, :])


def configuration(i: int, o: int, group: int, rounded: bool) -> Tiles:
    """Return the tiles for a weight [o, i], like those of `linear` in fp32.

    There are fewer rows in fp32: reading codes again for more rows costs little, and products of
    rows that do not exist cost as much as others. There are fewer columns for rounded activations,
    which need registers.
    """
    tiles = fp32_configuration(i, o)
    if not rounded:
        return tiles._replace(rows=8)
    part = max(triton.next_power_of_2(group), _LEAST)
    columns = min(tiles.columns, 32)
    return tiles._replace(rows=16, columns=columns, parts=LARGEST // part, part=part, warps=4)


def supported(x: Tensor, weight: Quantised) -> bool:
    """Return whether the kernel runs a product: float32, groups of 16, 32, ... 256 numbers."""
    floats = x.dtype == weight.scale.dtype == torch.float32
    return floats and weight.group % _TERMS == 0 and weight.group <= LARGEST


def launch(
    x: Tensor, weight: Quantised, bias: Tensor | None = None, activation: Activation = "none"
) -> Tensor:
    """Run `linear` with a quantised weight; the sums are in fp32.

    Args:
        x: [*b, i] in float32; the last axis is contiguous, rows may have any stride.
        weight: codes of a weight [o, i], with scales in float32.
        bias: [o] in float32.
        activation: as in `linear`.

    Raises:
        InvalidInput: shapes, dtypes or devices do not match, an axis has size 0, the group is not
            supported, the width is odd with swiglu, or the activation is unknown.
    """
    runs_kernels(x.device)
    codes, scale, zero, i, bits, rounded = weight
    if x.ndim < 1 or codes.ndim != 3 or not codes.numel() or bits not in (4, 8):
        raise InvalidInput(
            f"x, weight: expected x [*b, i] and codes [o, g, p] of 4 or 8 bits, without axes of "
            f"size 0, got {tuple(x.shape)} and {tuple(codes.shape)} of {bits} bits"
        )
    o, groups, stored = codes.shape
    group = weight.group
    if group % _TERMS or group > LARGEST or groups != triton.cdiv(i, group):
        raise InvalidInput(
            f"weight: expected {i} numbers in groups of 16, 32, ... {LARGEST}, got {groups} "
            f"groups of {group}"
        )
    width = results(o, activation)
    expect("x", x, (*x.shape[:-1], i), torch.float32, x.device, strided=True)
    expect("codes", codes, (o, groups, stored), torch.uint8, x.device)
    expect("scale", scale, (o, groups), torch.float32, x.device)
    if zero is not None:
        expect("zero", zero, (o, triton.cdiv(groups * bits, 8)), torch.uint8, x.device)
    if bias is not None:
        expect("bias", bias, (o,), torch.float32, x.device)
    out = x.new_empty(*x.shape[:-1], width)
    flat = x.reshape(-1, i)
    tiles = configuration(i, o, group, rounded)
    constants = _constants(tiles, weight, activation, bias is not None)
    if flat.shape[0]:
        programs = triton.cdiv(flat.shape[0], tiles.rows) * triton.cdiv(width, constants["RESULTS"])
        _kernel[(programs,)](
            flat, codes, scale, codes if zero is None else zero, scale if bias is None else bias,
            out, flat.shape[0], i, width, flat.stride(0), groups,
            **constants, num_warps=tiles.warps, num_stages=tiles.stages,
        )  # fmt: skip
    return out


def _constants(
    tiles: Tiles, weight: Quantised, activation: Activation, bias: bool
) -> dict[str, Any]:
    """Return the compile-time constants of the kernel."""
    return {
        "BITS": weight.bits, "GROUP": weight.group, "ZERO": weight.zero is not None,
        "ROUNDED": weight.rounded, "ACTIVATION": activation, "BIAS": bias,
        **tile_constants(tiles, activation),
    }  # fmt: skip


def overrides(_: Settings) -> Table:
    """Return no functions: models call `linear`, which launches this kernel for codes."""
    return {}


def variants() -> list[Variant]:
    """Return kernels for GPT-2's maps, and for zero points, long groups and gates."""
    maps: list[tuple[int, int, Activation]] = [
        (768, 2304, "none"),
        (768, 3072, "gelu_tanh"),
        (3072, 768, "none"),
        (768, 50_257, "none"),
    ]
    every = [
        _variant(*each, bits, rounded)
        for each in maps
        for bits in (8, 4)
        for rounded in (False, True)
    ]
    for rounded in (False, True):
        every += [
            _variant(768, 3072, "gelu_tanh", 4, rounded, zero=True),
            _variant(3072, 768, "none", 8, rounded, group=256),
            _variant(4096, 28_672, "swiglu", 4, rounded, group=128),
        ]
    return every


def _variant(
    i: int,
    o: int,
    activation: Activation,
    bits: int,
    rounded: bool,
    *,
    group: int = 32,
    zero: bool = False,
) -> Variant:
    tiles, groups = configuration(i, o, group, rounded), triton.cdiv(i, group)
    empty = torch.empty(0, groups, group * bits // 8, dtype=torch.uint8)
    weight = Quantised(empty, empty, empty if zero else None, i, bits, rounded)
    pointers = {"x": "*fp32", "codes": "*u8", "scale": "*fp32", "zero": "*u8"}
    sizes = {"i": i, "width": results(o, activation), "stride": i, "groups": groups}
    # A head and a map to gates have no bias.
    bias = o <= 4096
    return Variant(
        name=f"quantised_linear {i}x{o} {activation} int{bits} group={group}"
        f"{' zero' if zero else ''}{' rounded' if rounded else ''}",
        function=_kernel,
        arguments=pointers
        | {"bias": "*fp32", "out": "*fp32"}
        | dict.fromkeys(("rows", *sizes), "i32"),
        constants=_constants(tiles, weight, activation, bias),
        warps=tiles.warps,
        stages=tiles.stages,
        divisible=tuple(name for name, size in sizes.items() if size % 16 == 0),
        wanted=("IMMA" if rounded else "FFMA",),
    )
