"""Masked attention in one kernel: one program per block of queries, in one pass over the slots.

The softmax is computed online (running maximum, running sum, and weighted values so far). Blocks of
slots that every query sees need no mask; blocks at the diagonal and at the lower edge of the window
use one; all other blocks are skipped.

References:
    Milakov and Gimelshein (2018), Online normalizer calculation for softmax, arXiv:1805.02867.
    Dao (2023), FlashAttention-2, arXiv:2307.08691, section 3.
"""

import math
from typing import no_type_check

import torch
import triton
import triton.language as tl
from torch import Tensor

from ancestral.errors import InvalidInput
from ancestral.triton_kernels.dot import dot
from ancestral.triton_kernels.launch import FLOATS, TYPES, Variant, expect, runs_kernels
from ancestral.triton_kernels.masked_attention import windowed_attention
from ancestral.triton_kernels.overridable import Settings, Table

LARGEST = 256
"""Largest head size for which a block of queries fits a program's registers."""

LONGEST = 2**30
"""Largest number of slots that 32 bits can count, with room for one more block."""

L2_BYTES = 32 * 2**20
"""Bytes of keys and values to keep in the L2 cache: two thirds of an H200's 50 MB."""


# no_type_check: jaxtyping's import hook must not wrap functions that Triton compiles.
@triton.jit
@no_type_check
def _rows(x, slot, low, high, MASKED: tl.constexpr, HEAD: tl.constexpr, BLOCK_D: tl.constexpr):
    column = tl.arange(0, BLOCK_D)[None, :]
    if MASKED:
        inside = (slot >= low) & (slot < high)
        return tl.load(x, mask=inside[:, None] & (column < HEAD), other=0.0)
    elif BLOCK_D > HEAD:
        return tl.load(x, mask=column < HEAD, other=0.0)
    else:
        return tl.load(x)


@triton.jit
@no_type_check
def _attend(
    total, weight, peak, q, k, v, k_step, v_step, own, window, begin, end, low, high, scale,
    MASKED: tl.constexpr, WINDOW: tl.constexpr, AXIS: tl.constexpr,
    HEAD: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    at, column = tl.arange(0, BLOCK_N), tl.arange(0, BLOCK_D)[None, :]
    k_at = k + (begin + at).to(tl.int64)[:, None] * k_step + column
    v_at = v + (begin + at).to(tl.int64)[:, None] * v_step + column
    k_next, v_next = tl.cast(k_step, tl.int64) * BLOCK_N, tl.cast(v_step, tl.int64) * BLOCK_N
    for block in range(begin, end, BLOCK_N):
        slot = block + at
        keys = _rows(k_at, slot, low, high, MASKED, HEAD, BLOCK_D)
        if AXIS == 0:
            score = dot(keys, q, tl.zeros([BLOCK_N, BLOCK_M], tl.float32))
        else:
            score = dot(q, tl.trans(keys), tl.zeros([BLOCK_M, BLOCK_N], tl.float32))
        if MASKED:
            ahead = tl.expand_dims(own, AXIS) - tl.expand_dims(slot, 1 - AXIS)
            visible = ahead >= 0
            if WINDOW:
                visible = visible & (ahead < window)
            score = tl.where(visible, score, float("-inf"))
        new = tl.maximum(peak, tl.max(score, AXIS) * scale)
        share = tl.exp2(score * scale - tl.expand_dims(new, AXIS))
        kept = tl.exp2(peak - new)
        peak = new
        weight = weight * kept + tl.sum(share, AXIS)
        # Scale before loading the operands of the product, which fill the registers.
        total = total * kept[:, None]
        values = _rows(v_at, slot, low, high, MASKED, HEAD, BLOCK_D)
        share = share.to(values.dtype)
        if AXIS == 0:
            share = tl.trans(share)
        total = dot(share, values, total)
        k_at += k_next
        v_at += v_next
    return total, weight, peak


# Compiled once for all sizes.
@triton.jit(do_not_specialize=["window", "s", "slots", "rows", "heads", "group", "section", "unit"])
@no_type_check
def _kernel(
    q, k, v, start, y, scale, window, s, slots, rows, heads, group, section,
    q_row, q_head, q_step, k_row, k_head, k_step, v_row, v_head, v_step, unit,
    START: tl.constexpr, WINDOW: tl.constexpr, AXIS: tl.constexpr, HEAD: tl.constexpr,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    # Programs run one section of heads at a time, whose keys and values fit the L2 cache. In a
    # section the last queries come first, since they see the most slots.
    blocks = tl.cdiv(s, BLOCK_M)
    before = tl.program_id(0) // (section * blocks) * section
    inner = tl.program_id(0) - before * blocks
    width = tl.minimum(section, rows * heads - before)
    line = before + inner % width
    row, head = (line // heads).to(tl.int64), (line % heads).to(tl.int64)
    begin_query = (blocks - 1 - inner // width) * BLOCK_M
    query = begin_query + tl.arange(0, BLOCK_M)
    column = tl.arange(0, BLOCK_D)

    q += row * q_row + head * q_head
    k += row * k_row + head // group * k_head
    v += row * v_row + head // group * v_head
    if AXIS == 0:
        # The compiler does not know that the stride `unit` is 1, so it keeps the queries' axis
        # innermost in shared memory, where adjacent threads then read without bank conflicts.
        q_at = query[None, :].to(tl.int64) * q_step + column[:, None] * unit
        inside = (query < s)[None, :] & (column < HEAD)[:, None]
    else:
        q_at = query[:, None].to(tl.int64) * q_step + column[None, :]
        inside = (query < s)[:, None] & (column < HEAD)[None, :]
    queries = tl.load(q + q_at, mask=inside, other=0.0)

    first = 0
    if START:
        given = tl.load(start + row)
        fits = (given >= 0) & (given <= slots - s)
        first = tl.where(fits, given, 0).to(tl.int32)
    # These queries see slots low .. high - 1, and all of them see those before `full`.
    own = first + query
    low = 0
    full = (first + begin_query + 1) // BLOCK_N * BLOCK_N
    high = first + tl.minimum(begin_query + BLOCK_M, s)
    if START:
        full = tl.where(fits, full, 0)
        high = tl.where(fits, high, 0)

    total = tl.zeros([BLOCK_M, BLOCK_D], tl.float32)
    weight = tl.zeros([BLOCK_M], tl.float32)
    # Finite, so that a block in which a query sees no slot gives 0, not NaN.
    peak = tl.full([BLOCK_M], -3.4028234e38, tl.float32)
    begin = 0
    if WINDOW:
        low = tl.maximum(first + begin_query + 1 - window, 0)
        begin = low // BLOCK_N * BLOCK_N
        edge = tl.cdiv(tl.maximum(high - window, 0), BLOCK_N) * BLOCK_N
        edge = tl.minimum(edge, full)
        total, weight, peak = _attend(
            total, weight, peak, queries, k, v, k_step, v_step, own, window,
            begin, edge, low, high, scale,
            True, WINDOW, AXIS, HEAD, BLOCK_M, BLOCK_N, BLOCK_D,
        )  # fmt: skip
        begin = edge
    total, weight, peak = _attend(
        total, weight, peak, queries, k, v, k_step, v_step, own, window,
        begin, full, low, high, scale,
        False, WINDOW, AXIS, HEAD, BLOCK_M, BLOCK_N, BLOCK_D,
    )  # fmt: skip
    total, weight, peak = _attend(
        total, weight, peak, queries, k, v, k_step, v_step, own, window,
        full, high, low, high, scale,
        True, WINDOW, AXIS, HEAD, BLOCK_M, BLOCK_N, BLOCK_D,
    )  # fmt: skip
    filled = query < s
    if START:
        filled = filled & fits
    total = total / tl.where(filled, weight, 1.0)[:, None]
    if START:
        total = tl.where(fits, total, float("nan"))
    y_at = ((row * s + query) * heads + head)[:, None] * HEAD + column[None, :]
    inside = (query < s)[:, None] & (column < HEAD)[None, :]
    tl.store(y + y_at, total.to(y.dtype.element_ty), mask=inside)


def constants(d: int, dtype: torch.dtype, block_m: int, block_n: int) -> dict[str, object]:
    """Return the compile-time constants for head size d; AXIS is the slots' axis of the scores."""
    return {
        "AXIS": 0 if dtype == torch.float32 else 1, "HEAD": d,
        "BLOCK_M": block_m, "BLOCK_N": block_n, "BLOCK_D": max(16, triton.next_power_of_2(d)),
    }  # fmt: skip


def wanted(dtype: torch.dtype) -> tuple[str, ...]:
    """Return the instructions that a kernel for a dtype must contain."""
    return ("LDGSTS.E.BYPASS",) + (() if dtype == torch.float32 else ("HGMMA|HMMA",))


def configuration(s: int, d: int, dtype: torch.dtype) -> tuple[int, int, int, int]:
    """Return the block of queries, the block of slots, the warps and the stages.

    They are chosen so that nothing spills and, for small heads, a multiprocessor of an H200 holds
    two or three programs: one computes its softmax while another multiplies.
    """
    wide = triton.next_power_of_2(d)
    if dtype == torch.float32:
        if s <= 32 or wide > 128:
            return 32, 16, 4 if wide <= 64 else 8, 3
        return 64, 32, 8, 3
    if wide > 128:
        return 64, 64, 8, 2
    return (64, 64, 4, 3) if s <= 64 else (128, 64, 8, 3)


def launch(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    start: Tensor | None,
    window: int | None,
    scale: float | None,
) -> Tensor:
    """Run the operator; the arguments and the result are those of `masked_attention_reference`.

    Raises:
        InvalidInput: shapes, dtypes or devices do not match, there are more queries than slots or
            more than 2^30 slots, the head size is above 256, or `window` or `scale` is out of
            range.
    """
    runs_kernels(q.device)
    _check(q, k, v, start)
    (b, h, s, d), (g, slots) = q.shape, k.shape[1:3]
    scale = d**-0.5 if scale is None else scale
    if not _is_scale(scale):
        raise InvalidInput(f"scale: expected a number in 1e-30 .. 1e30, got {scale}")
    if window is not None and window < 1:
        raise InvalidInput(f"window: expected at least 1, got {window}")
    y = q.new_empty(b, s, h, d)
    if y.numel():
        block_m, block_n, warps, stages = configuration(s, d, q.dtype)
        windowed = window is not None and window < slots
        near = max(1, L2_BYTES // (2 * slots * d * q.itemsize)) * (h // g)
        _kernel[(b * h * triton.cdiv(s, block_m),)](
            q, k, v, q if start is None else start, y, scale / math.log(2),
            window if windowed else 0, s, slots, b, h, h // g, min(near, b * h),
            *q.stride()[:3], *k.stride()[:3], *v.stride()[:3], 1,
            START=start is not None, WINDOW=windowed, **constants(d, q.dtype, block_m, block_n),
            num_warps=warps, num_stages=stages,
        )  # fmt: skip
    return y.transpose(1, 2)


def overrides(_: Settings) -> Table:
    """Return the kernel for windowed attention and for PyTorch's attention."""
    attention = torch.nn.functional.scaled_dot_product_attention
    return {windowed_attention: _windowed, attention: scaled_dot_product}


def _windowed(q: Tensor, k: Tensor, v: Tensor, window: int, dropout: float = 0.0) -> Tensor:
    """Run `windowed_attention` by our kernel, except with dropout, gradients or other dtypes."""
    if dropout or _is_differentiated(q, k, v) or q.dtype not in FLOATS:
        return windowed_attention(q, k, v, window, dropout)
    return launch(q, k, v, None, window, None)


def scaled_dot_product(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """Run torch.nn.functional.scaled_dot_product_attention by our kernel where both agree.

    The kernel does causal attention of as many queries as keys, without mask, dropout or gradient.
    PyTorch does everything else, including float64.
    """
    b, h, t, d = query.shape if query.ndim == 4 else (0, 0, 0, 0)
    g = key.shape[1] if key.ndim == 4 else 0
    shared = g == h or (enable_gqa and g > 0 and h % g == 0)
    differentiated = _is_differentiated(query, key, value)
    if (
        (is_causal and attn_mask is None and dropout_p == 0.0 and not differentiated)
        and (scale is None or _is_scale(scale))
        and (shared and 1 <= d <= LARGEST and query.dtype in FLOATS)
        and key.shape == value.shape == (b, g, t, d)
        and query.dtype == key.dtype == value.dtype
        and all(x.stride(-1) == 1 for x in (query, key, value))
    ):
        return launch(query, key, value, None, None, scale)
    return torch.nn.functional.scaled_dot_product_attention(
        query, key, value, attn_mask, dropout_p, is_causal, scale=scale, enable_gqa=enable_gqa
    )


def variants() -> list[Variant]:
    """Return kernels for the image model, GPT-2 and Llama: prefill, log-probabilities, windows."""
    prefill = [
        _variant(1024, d, dtype, start=True, window=False)
        for d in (32, 64, 128)
        for dtype in FLOATS
    ]
    others = [
        _variant(s, 64, dtype, start=False, window=window)
        for s, window in ((1024, False), (1024, True), (32, False))
        for dtype in (torch.float32, torch.bfloat16)
    ]
    return prefill + others


def _is_differentiated(*tensors: Tensor) -> bool:
    return torch.is_grad_enabled() and any(x.requires_grad for x in tensors)


def _is_scale(scale: float) -> bool:
    """Return whether a scale keeps the order of the scores and is a finite number in fp32."""
    return 1e-30 <= scale <= 1e30


def _check(q: Tensor, k: Tensor, v: Tensor, start: Tensor | None) -> None:
    """Check the tensors that the kernel will read."""
    for name, tensor in (("q", q), ("k", k)):
        if tensor.ndim != 4:
            raise InvalidInput(f"{name}: expected 4 axes, got shape {tuple(tensor.shape)}")
    (b, h, s, d), (g, slots) = q.shape, k.shape[1:3]
    if not 1 <= d <= LARGEST:
        raise InvalidInput(f"q: expected a head size of 1 .. {LARGEST}, got {d}")
    if g < 1 or h % g:
        raise InvalidInput(f"k: expected a number of heads that divides {h}, got {g}")
    if not s <= slots <= LONGEST:
        raise InvalidInput(f"k: expected {s} (one per query) .. {LONGEST} slots, got {slots}")
    expect("q", q, (b, h, s, d), FLOATS, q.device, strided=True)
    expect("k", k, (b, g, slots, d), q.dtype, q.device, strided=True)
    expect("v", v, (b, g, slots, d), q.dtype, q.device, strided=True)
    if start is not None:
        expect("start", start, (b,), torch.int64, q.device)


def _variant(s: int, d: int, dtype: torch.dtype, start: bool, window: bool) -> Variant:
    block_m, block_n, warps, stages = configuration(s, d, dtype)
    pointers = ("q", "k", "v", "start", "y")
    strides = tuple(f"{x}_{axis}" for x in "qkv" for axis in ("row", "head", "step"))
    numbers = ("window", "s", "slots", "rows", "heads", "group", "section", *strides, "unit")
    types = dict.fromkeys(pointers, f"*{TYPES[dtype]}") | ({"start": "*i64"} if start else {})
    mask = f"{'start' if start else 'causal'}{' window' if window else ''}"
    return Variant(
        name=f"masked_attention {mask} s={s} d={d} {TYPES[dtype]}",
        function=_kernel,
        arguments=types | {"scale": "fp32"} | dict.fromkeys(numbers, "i32"),
        constants={"START": start, "WINDOW": window, **constants(d, dtype, block_m, block_n)},
        warps=warps,
        stages=stages,
        divisible=strides,
        wanted=wanted(dtype),
    )
