"""Write a block of keys and values into the cache, at each row's own slots."""

from typing import no_type_check

import torch
import triton
import triton.language as tl
from torch import Tensor

from ancestral.triton_kernels.launch import FLOATS, TYPES, Variant

_NUMBERS = 4096
"""Elements per program: slots times width."""


@triton.jit
@no_type_check
def _write(
    k, v, k_cache, v_cache, position, k_row, k_slot, v_row, v_slot, s, T,
    GROUPS: tl.constexpr, D: tl.constexpr, SLOTS: tl.constexpr, WIDTH: tl.constexpr,
):  # fmt: skip
    row = (tl.program_id(0) // GROUPS).to(tl.int64)
    group = tl.program_id(0) % GROUPS
    n = tl.load(position + row).to(tl.int64)
    i = tl.program_id(1) * SLOTS + tl.arange(0, SLOTS)
    dim = tl.arange(0, WIDTH)
    inside = ((i < s) & (n >= 0) & (n + s <= T))[:, None] & (dim < D)[None, :]
    at = ((row * GROUPS + group) * T + n + i[:, None]) * D + dim[None, :]
    source = i[:, None].to(tl.int64), group * D + dim[None, :]
    keys = tl.load(k + row * k_row + source[0] * k_slot + source[1], mask=inside, other=0.0)
    tl.store(k_cache + at, keys, mask=inside)
    values = tl.load(v + row * v_row + source[0] * v_slot + source[1], mask=inside, other=0.0)
    tl.store(v_cache + at, values, mask=inside)


def write(k: Tensor, v: Tensor, k_cache: Tensor, v_cache: Tensor, position: Tensor) -> None:
    """Write slots position .. position + s - 1 of each row; skip rows whose block does not fit.

    Args:
        k: keys [b, s, g d], the last axis contiguous.
        v: values, as k.
        k_cache: [b, g, T, d], written in place.
        v_cache: as k_cache.
        position: first slot of each row, [b] int64.
    """
    b, g, length, d = k_cache.shape
    width = triton.next_power_of_2(d)
    slots = max(1, _NUMBERS // width)
    _write[(b * g, triton.cdiv(k.shape[1], slots))](
        k, v, k_cache, v_cache, position,
        k.stride(0), k.stride(1), v.stride(0), v.stride(1), k.shape[1], length,
        GROUPS=g, D=d, SLOTS=slots, WIDTH=width, num_warps=4,
    )  # fmt: skip


def variants() -> list[Variant]:
    """Return the kernels for a block of GPT-2 small."""
    return [_variant(12, 64, dtype) for dtype in FLOATS]


def _variant(groups: int, d: int, dtype: torch.dtype) -> Variant:
    pointers = dict.fromkeys(("k", "v", "k_cache", "v_cache"), f"*{TYPES[dtype]}")
    strides = dict.fromkeys(("k_row", "k_slot", "v_row", "v_slot"), "i32")
    return Variant(
        name=f"cached_attention block g={groups} d={d} {TYPES[dtype]}",
        function=_write,
        arguments=pointers | {"position": "*i64"} | strides | {"s": "i32", "T": "i32"},
        constants={"GROUPS": groups, "D": d, "SLOTS": _NUMBERS // d, "WIDTH": d},
        warps=4,
        divisible=(*strides, "T"),
        wanted=("STG.E.128",),
    )
