"""Attention of one query per row over its cache, split along the cache, with a fused append.

A program handles one key/value head of one row and one split of the cache; the query heads of the
group share its loads. The new key and value are not read back: the program whose split contains
the row's slot puts them next to the old ones, and writes them to the cache. If there is more than
one split, a second kernel merges them (flash-decoding). The splits depend only on the length of the
cache, so the bits of a row do not depend on its batch.

References:
    Dao, Haziza, Massa, Sizov (2023), Flash-decoding for long-context inference.
    Milakov and Gimelshein (2018), Online normalizer calculation for softmax, arXiv:1805.02867.
"""

import math
from typing import Any, no_type_check

import torch
import triton
import triton.language as tl
from torch import Tensor

from ancestral.errors import InvalidInput
from ancestral.triton_kernels.cached_attention import block, cached_attention
from ancestral.triton_kernels.dot import dot
from ancestral.triton_kernels.launch import FLOATS, TYPES, Variant, expect, runs_kernels
from ancestral.triton_kernels.masked_attention import kernel as masked_attention
from ancestral.triton_kernels.overridable import Settings, Table

LARGEST_HEAD = 256
_UNSPLIT = 1024
"""Up to this many slots a cache is not split: a second launch costs more than it saves."""
_SPLIT = 512
_MERGED = 16
"""Splits merged at a time."""
_LOG2_E = math.log2(math.e)


@triton.jit
@no_type_check
def _load(
    cache, new, first, n, dim,
    D: tl.constexpr, SLOTS: tl.constexpr, EDGE: tl.constexpr,
):  # fmt: skip
    """Load the keys or values [SLOTS, WIDTH] of a tile; at the EDGE, put the new one at slot n."""
    slot = first + tl.arange(0, SLOTS)
    at = cache + slot[:, None].to(tl.int64) * D + dim[None, :]
    inside = (dim < D)[None, :]
    if EDGE:
        old = tl.load(at, mask=inside & (slot < n)[:, None], other=0.0)
        return tl.where((slot == n)[:, None], new[None, :], old)
    return tl.load(at, mask=inside, other=0.0)


@triton.jit
@no_type_check
def _tile(
    query, keys, values, first, n, scale, best, total, result,
    DOT: tl.constexpr, ROWS: tl.constexpr, SLOTS: tl.constexpr, WINDOW: tl.constexpr,
    EDGE: tl.constexpr,
):  # fmt: skip
    """Return the statistics and the result after one more tile of the cache.

    With matrix products (DOT) they are [ROWS] and [ROWS, WIDTH]. Otherwise each of SLOTS lanes has
    its own softmax, so that no sum crosses warps inside the loop: [ROWS, SLOTS] and
    [ROWS, SLOTS, WIDTH], without the first axis if ROWS is 1.
    """
    slot = first + tl.arange(0, SLOTS)
    seen = slot <= n
    if WINDOW > 0:
        seen = seen & (slot > n - WINDOW)
    if DOT:
        score = dot(query, tl.trans(keys), tl.zeros([ROWS, SLOTS], tl.float32))
        seen = seen[None, :]
    elif ROWS == 1:
        score = tl.sum(query[None, :] * keys.to(tl.float32), axis=1)
    else:
        score = tl.sum(query[:, None, :] * keys.to(tl.float32)[None, :, :], axis=2)
        seen = seen[None, :]
    score *= scale
    if EDGE or WINDOW > 0:
        score = tl.where(seen, score, float("-inf"))
    if DOT:
        higher = tl.maximum(best, tl.max(score, axis=1))
        weight = tl.exp2(score - higher[:, None])
        kept = tl.exp2(best - higher)
        total = total * kept + tl.sum(weight, axis=1)
        result = dot(weight.to(values.dtype), values, result * kept[:, None])
    else:
        higher = tl.maximum(best, score)
        # A lane that has seen nothing has no maximum to subtract.
        shift = tl.where(higher == float("-inf"), 0.0, higher)
        kept = tl.exp2(best - shift)
        weight = tl.exp2(score - shift)
        total = total * kept + weight
        values = values.to(tl.float32)
        if ROWS == 1:
            result = result * kept[:, None] + weight[:, None] * values
        else:
            result = result * kept[:, :, None] + weight[:, :, None] * values[None, :, :]
    return higher, total, result


@triton.jit(do_not_specialize=["splits"])
@no_type_check
def _attend(
    q, k, v, k_cache, v_cache, position, y, part_y, part_max, part_sum,
    q_stride, k_stride, v_stride, T, splits, scale,
    HEADS: tl.constexpr, GROUP: tl.constexpr, D: tl.constexpr,
    SPLIT: tl.constexpr, MANY: tl.constexpr, WINDOW: tl.constexpr,
    DOT: tl.constexpr, ROWS: tl.constexpr, SLOTS: tl.constexpr, WIDTH: tl.constexpr,
):  # fmt: skip
    groups: tl.constexpr = HEADS // GROUP
    chunks: tl.constexpr = (GROUP + ROWS - 1) // ROWS
    row = (tl.program_id(0) // (groups * chunks)).to(tl.int64)
    group = tl.program_id(0) // chunks % groups
    chunk = tl.program_id(0) % chunks
    split = tl.program_id(1)
    where = tl.load(position + row)
    # A row whose position is outside its cache only writes its result, which is NaN.
    sound = (where >= 0) & (where < T)
    n = where.to(tl.int32)
    begin = split * SPLIT
    # The first visible slot.
    low = tl.maximum(n - WINDOW + 1, 0) if WINDOW > 0 else 0
    dim = tl.arange(0, WIDTH)
    in_head = dim < D
    head = chunk * ROWS + tl.arange(0, ROWS)
    in_group = head < GROUP
    at_head = group * GROUP + head
    inside = in_group[:, None] & in_head[None, :]
    best = tl.full([ROWS], float("-inf"), tl.float32)
    total = tl.zeros([ROWS], tl.float32)
    result = tl.zeros([ROWS, WIDTH], tl.float32)
    if sound & (begin <= n) & (begin + SPLIT > low):
        cache = (row * groups + group) * T * D
        k_cache += cache
        v_cache += cache
        new_k = tl.load(k + row * k_stride + group * D + dim, mask=in_head, other=0.0)
        new_v = tl.load(v + row * v_stride + group * D + dim, mask=in_head, other=0.0)
        if (n < begin + SPLIT) & (chunk == 0):
            tl.store(k_cache + where * D + dim, new_k, mask=in_head)
            tl.store(v_cache + where * D + dim, new_v, mask=in_head)
        if ROWS == 1:
            at = q + row * q_stride + (group * GROUP + chunk) * D + dim
            query = tl.load(at, mask=in_head, other=0.0).to(tl.float32)
            lane_best = tl.full([SLOTS], float("-inf"), tl.float32)
            lane_total = tl.zeros([SLOTS], tl.float32)
            lane_result = tl.zeros([SLOTS, WIDTH], tl.float32)
        else:
            query = tl.load(
                q + row * q_stride + at_head[:, None] * D + dim[None, :], mask=inside, other=0.0
            )
            lane_best, lane_total, lane_result = best, total, result
            if not DOT:
                query = query.to(tl.float32)
                lane_best = tl.full([ROWS, SLOTS], float("-inf"), tl.float32)
                lane_total = tl.zeros([ROWS, SLOTS], tl.float32)
                lane_result = tl.zeros([ROWS, SLOTS, WIDTH], tl.float32)
        end = tl.minimum(begin + SPLIT, n)
        whole = begin + (end - begin) // SLOTS * SLOTS
        # Tiles before the window are skipped; begin is a multiple of SLOTS.
        start = tl.maximum(begin, low // SLOTS * SLOTS)
        for first in range(start, whole, SLOTS):
            keys = _load(k_cache, new_k, first, n, dim, D, SLOTS, False)
            values = _load(v_cache, new_v, first, n, dim, D, SLOTS, False)
            lane_best, lane_total, lane_result = _tile(
                query, keys, values, first, n, scale, lane_best, lane_total, lane_result,
                DOT, ROWS, SLOTS, WINDOW, False,
            )  # fmt: skip
        if whole < tl.minimum(begin + SPLIT, n + 1):
            keys = _load(k_cache, new_k, whole, n, dim, D, SLOTS, True)
            values = _load(v_cache, new_v, whole, n, dim, D, SLOTS, True)
            lane_best, lane_total, lane_result = _tile(
                query, keys, values, whole, n, scale, lane_best, lane_total, lane_result,
                DOT, ROWS, SLOTS, WINDOW, True,
            )  # fmt: skip
        if DOT:
            best, total, result = lane_best, lane_total, lane_result
        elif ROWS == 1:
            highest = tl.max(lane_best, axis=0)
            share = tl.exp2(lane_best - highest)
            best = tl.zeros([ROWS], tl.float32) + highest
            total = tl.zeros([ROWS], tl.float32) + tl.sum(lane_total * share, axis=0)
            result = tl.sum(lane_result * share[:, None], axis=0)[None, :]
        else:
            best = tl.max(lane_best, axis=1)
            share = tl.exp2(lane_best - best[:, None])
            total = tl.sum(lane_total * share, axis=1)
            result = tl.sum(lane_result * share[:, :, None], axis=1)
    if MANY:
        part = (row * HEADS + at_head) * splits + split
        tl.store(part_max + part, best, mask=in_group)
        tl.store(part_sum + part, total, mask=in_group)
        tl.store(part_y + part[:, None] * D + dim[None, :], result, mask=inside)
    else:
        result = tl.where(sound, result / tl.where(sound, total, 1.0)[:, None], float("nan"))
        at = (row * HEADS + at_head[:, None]) * D + dim[None, :]
        tl.store(y + at, result.to(y.dtype.element_ty), mask=inside)


@triton.jit(do_not_specialize=["splits"])
@no_type_check
def _merge(
    part_y, part_max, part_sum, position, y, T, splits,
    HEADS: tl.constexpr, D: tl.constexpr, SPLIT: tl.constexpr, WINDOW: tl.constexpr,
    SPLITS: tl.constexpr, WIDTH: tl.constexpr,
):  # fmt: skip
    head = tl.program_id(0).to(tl.int64)
    n = tl.load(position + head // HEADS)
    sound = (n >= 0) & (n < T)
    dim = tl.arange(0, WIDTH)
    in_head = dim < D
    used = tl.where(sound, n // SPLIT + 1, 0).to(tl.int32)
    # The first split with a visible slot.
    begin = 0
    if WINDOW > 0:
        begin = (tl.maximum(n - WINDOW + 1, 0) // SPLIT).to(tl.int32)
    best = tl.full([], float("-inf"), tl.float32)
    total = tl.zeros([], tl.float32)
    result = tl.zeros([WIDTH], tl.float32)
    for first in range(begin, used, SPLITS):
        split = first + tl.arange(0, SPLITS)
        inside = split < used
        part = head * splits + split
        part_best = tl.load(part_max + part, mask=inside, other=float("-inf"))
        higher = tl.maximum(best, tl.max(part_best, axis=0))
        kept = tl.exp2(best - higher)
        share = tl.exp2(part_best - higher)
        total = total * kept + tl.sum(
            share * tl.load(part_sum + part, mask=inside, other=0.0), axis=0
        )
        some = tl.load(
            part_y + part[:, None] * D + dim[None, :],
            mask=inside[:, None] & in_head[None, :],
            other=0.0,
        )
        result = result * kept + tl.sum(share[:, None] * some, axis=0)
        best = higher
    result = tl.where(sound, result / tl.where(sound, total, 1.0), float("nan"))
    tl.store(y + head * D + dim, result.to(y.dtype.element_ty), mask=in_head)


def configuration(
    heads: int, group: int, d: int, length: int, dtype: torch.dtype
) -> tuple[dict[str, int], int, int]:
    """Return the constants, warps and stages of `_attend`; none depends on the batch size.

    Args:
        heads: number of query heads.
        group: query heads per key/value head; DOT multiplies them as matrices, ROWS at a time.
        d: head size.
        length: slots of the cache; a program handles SPLIT of them, SLOTS at a time.
        dtype: dtype of the cache.
    """
    width = max(16, triton.next_power_of_2(d))
    split = length if length <= _UNSPLIT else _SPLIT
    shape = {"HEADS": heads, "GROUP": group, "D": d, "WIDTH": width}
    shape |= {"SPLIT": split, "MANY": length > split}
    if group > 1 and dtype.itemsize == 2:
        return shape | {"DOT": True, "ROWS": 16, "SLOTS": 64 if width <= 128 else 32}, 4, 3
    rows = min(triton.next_power_of_2(group), 4)
    slots = min(max((4096 if rows == 1 else 8192) // (rows * width), 16), 128)
    warps = 8 if rows * slots * width > 4096 else 4
    return shape | {"DOT": False, "ROWS": rows, "SLOTS": slots}, warps, 2


def _merging(constants: dict[str, int]) -> dict[str, int]:
    """Return the constants of `_merge`: those shared with `_attend`, and SPLITS."""
    shared = {name: constants[name] for name in ("HEADS", "D", "SPLIT", "WINDOW", "WIDTH")}
    return shared | {"SPLITS": _MERGED}


def launch(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    k_cache: Tensor,
    v_cache: Tensor,
    position: Tensor,
    window: int | None = None,
) -> Tensor:
    """Run the operator in place and return y [b, s, h d]; the block is written into the caches.

    A row whose block does not fit its cache writes nothing, and its result is NaN: positions are
    known only on the device. A block of one position takes one pass over the cache; a longer block
    is written first, and then attends through `masked_attention`.

    Raises:
        InvalidInput: shapes, dtypes or devices do not match, the head size is above 256, the block
            is longer than the cache, or `window` is less than 1.
    """
    runs_kernels(q.device)
    b, s, g, length, d = *q.shape[:2], *k_cache.shape[1:]
    heads = q.shape[2] // max(d, 1)
    if not 1 <= d <= LARGEST_HEAD or heads * d != q.shape[2] or g < 1 or heads % g or heads < 1:
        raise InvalidInput(
            f"q: expected [b, s, h d] with a head size d of 1 .. {LARGEST_HEAD}, and h a multiple "
            f"of the cache's {g} heads, got {tuple(q.shape)} with a cache {tuple(k_cache.shape)}"
        )
    if s > length:
        raise InvalidInput(f"q: expected at most {length} positions, the cache's length, got {s}")
    expect("q", q, (b, s, heads * d), FLOATS, q.device, strided=True)
    for name, tensor in (("k", k), ("v", v)):
        expect(name, tensor, (b, s, g * d), q.dtype, q.device, strided=True)
    for name, tensor in (("k_cache", k_cache), ("v_cache", v_cache)):
        expect(name, tensor, (b, g, length, d), q.dtype, q.device)
    expect("position", position, (b,), torch.int64, q.device)
    if window is not None and window < 1:
        raise InvalidInput(f"window: expected at least 1, got {window}")
    if b * s == 0:
        return q.new_empty(b, s, heads * d)
    if s > 1:
        block.write(k, v, k_cache, v_cache, position)
        query = q.unflatten(-1, (heads, d)).transpose(1, 2)
        y = masked_attention.launch(query, k_cache, v_cache, position, window, None)
        return y.transpose(1, 2).flatten(2)
    seen = 0 if window is None or window >= length else window
    return _launch_step(q[:, 0], k[:, 0], v[:, 0], k_cache, v_cache, position, seen)[:, None]


def _launch_step(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    k_cache: Tensor,
    v_cache: Tensor,
    position: Tensor,
    window: int,
) -> Tensor:
    b, g, length, d = k_cache.shape
    heads = q.shape[1] // d
    constants, warps, stages = configuration(heads, heads // g, d, length, q.dtype)
    constants["WINDOW"] = window
    splits = triton.cdiv(length, constants["SPLIT"])
    y = q.new_empty(b, heads * d)
    parts = [y, y, y]
    if splits > 1:
        shapes = ((b, heads, splits, d), (b, heads, splits), (b, heads, splits))
        parts = [q.new_empty(shape, dtype=torch.float32) for shape in shapes]
    chunks = triton.cdiv(heads // g, constants["ROWS"])
    _attend[(b * g * chunks, splits)](
        q, k, v, k_cache, v_cache, position, y, *parts,
        q.stride(0), k.stride(0), v.stride(0), length, splits, d**-0.5 * _LOG2_E,
        **constants, num_warps=warps, num_stages=stages,
    )  # fmt: skip
    if splits > 1:
        merging = _merging(constants)
        _merge[(b * heads,)](*parts, position, y, length, splits, **merging, num_warps=4)
    return y


def overrides(_: Settings) -> Table:
    """Return the kernel of the operator, which works in place."""
    return {cached_attention._opoverload: _with_caches}


def _with_caches(
    q: Tensor, k: Tensor, v: Tensor, k_cache: Tensor, v_cache: Tensor, *others: Any
) -> tuple[Tensor, Tensor, Tensor]:
    return launch(q, k, v, k_cache, v_cache, *others), k_cache, v_cache


def variants() -> list[Variant]:
    """Return kernels for the image model, GPT-2 small, and grouped heads over a long cache."""
    found = block.variants()
    for heads, group, d, length, window in (
        (4, 1, 32, 784, 0),
        (12, 1, 64, 1024, 0),
        (32, 4, 128, 8192, 0),
        (32, 4, 128, 8192, 4096),
    ):
        for dtype in FLOATS:
            found += _variants(heads, group, d, length, window, dtype)
    return found


def _variants(
    heads: int, group: int, d: int, length: int, window: int, dtype: torch.dtype
) -> list[Variant]:
    constants, warps, stages = configuration(heads, group, d, length, dtype)
    constants["WINDOW"] = window
    name, stored = f"h={heads} g={heads // group} d={d} T={length} {TYPES[dtype]}", TYPES[dtype]
    name = f"{name} window={window}" if window else name
    many = constants["MANY"]
    own = dict.fromkeys(("q", "k", "v", "k_cache", "v_cache"), f"*{stored}")
    parts = dict.fromkeys(("part_y", "part_max", "part_sum"), "*fp32" if many else f"*{stored}")
    strides = ("q_stride", "k_stride", "v_stride")
    sizes = dict.fromkeys((*strides, "T", "splits"), "i32")
    attend = Variant(
        name=f"cached_attention {name}",
        function=_attend,
        arguments=own | {"position": "*i64", "y": f"*{stored}"} | parts | sizes | {"scale": "fp32"},
        constants=constants,
        warps=warps,
        stages=stages,
        divisible=(*strides, "T"),
        wanted=("LDG.E.128|LDGSTS.E.BYPASS.128|LDGSTS.E.128",)
        + (("HMMA",) if constants["DOT"] else ()),
    )
    if not many:
        return [attend]
    merge = Variant(
        name=f"cached_attention merge {name}",
        function=_merge,
        arguments=parts | {"position": "*i64", "y": f"*{stored}", "T": "i32", "splits": "i32"},
        constants=_merging(constants),
        warps=4,
        divisible=("T",),
    )
    return [attend, merge]
