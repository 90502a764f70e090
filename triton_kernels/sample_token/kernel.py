"""The end of a sampling step as kernels: the logits of a row are read at most twice.

A short row stays in the registers of one program. A long one is read in tiles by many programs,
which leave the maximum and the sum of each; then one program a row finds the tile that holds
u C_last, and reads that tile again. All sums are in an order that follows from v alone.

A row without probabilities (a logit is NaN or +inf, or all are -inf) gets value 0 and log p and
log q NaN; an observed value that is none of the v becomes 0 with log p NaN.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any, no_type_check

import torch
import triton
import triton.language as tl
from torch import Tensor

from ancestral.errors import InvalidInput
from ancestral.triton_kernels.launch import FLOATS, TYPES, Variant, expect, runs_kernels
from ancestral.triton_kernels.overridable import Seeds, Settings, Table
from ancestral.triton_kernels.sample_token import Drawn, draw, filtered_kernel, sample_token
from ancestral.triton_kernels.sample_token.filters import Filters

LARGEST = 262_144
"""So many values a position may have."""


@triton.jit(do_not_specialize=["T"])
@no_type_check
def _tiles(
    logits, position, tops, sums, stride, T, v,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64)
    tile = tl.program_id(1)
    n = tl.load(position + row)
    if (n < 0) | (n >= T):
        return
    l = draw.load(logits + row * stride, tile * ROWS * COLUMNS + draw.grid(ROWS, COLUMNS), v)
    top = tl.max(l)
    # A tile of -inf alone has the sum 0.
    w = tl.exp(l - tl.where(top == -float("inf"), 0.0, top))
    at = row * tl.num_programs(1) + tile
    tl.store(tops + at, top)
    tl.store(sums + at, tl.sum(w))


@triton.jit(do_not_specialize=["T"])
@no_type_check
def _step(
    logits, noise, index, observed, position, values, log_ps, log_qs,
    temperatures, top_k, top_p, min_p, tops, sums, stride, T, v,
    SEEDED: tl.constexpr, FILTERED: tl.constexpr, HELD: tl.constexpr,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr, HIGH: tl.constexpr, WIDE: tl.constexpr,
    TILES: tl.constexpr, BLOCKS: tl.constexpr,
):  # fmt: skip
    """The end of a step of one row, whose logits are HELD in registers or summed in tiles."""
    row = tl.program_id(0).to(tl.int64)
    logits += row * stride
    if HELD:
        at = draw.grid(ROWS, COLUMNS)
        l = draw.load(logits, at, v)
    n = tl.load(position + row)
    if (n < 0) | (n >= T):
        return
    value = tl.load(observed + row * T + n)
    if HELD:
        top = tl.max(l)
        w = tl.exp(l - top)
        total = tl.sum(w)
    else:
        top, masses = draw.merge(tops, sums, row, v, TILES)
        total = tl.sum(masses)
    log_q = tl.full([], 0.0, tl.float32)
    if value < 0:
        if FILTERED:
            temperature = tl.load(temperatures + row)
            if temperature > 0:
                least, above = filtered_kernel.bounds(
                    logits, row, v, top, temperature, top_k, top_p, min_p, HELD, HIGH, WIDE
                )
                u = draw.uniform(noise, index, row, n, T, SEEDED)
                drawn, log_q = filtered_kernel.drawn(
                    logits, u, v, top, temperature, least, above, ROWS, COLUMNS, BLOCKS
                )
            else:
                drawn = filtered_kernel.first(logits, v, top, ROWS, COLUMNS)
            log_q = tl.where(total > 0, log_q, float("nan"))
        else:
            u = draw.uniform(noise, index, row, n, T, SEEDED)
            if HELD:
                drawn = draw.first_at(w, at, u * total)
            else:
                tile, rest = draw.descend(masses, u * total, TILES)
                at = tile * ROWS * COLUMNS + draw.grid(ROWS, COLUMNS)
                drawn = draw.first_at(tl.exp(draw.load(logits, at, v) - top), at, rest)
        value = tl.where(total > 0, drawn, 0).to(tl.int64)
    if FILTERED:
        tl.store(log_qs + row * T + n, log_q)
    draw.record(logits, v, top, total, position, values, log_ps, row, n, T, value)


def configuration(v: int, itemsize: int, filtered: bool) -> tuple[dict[str, object], int]:
    """Constants and warps of `_step`, for rows of v logits of so many bytes.

    To draw, a program reads [ROWS, COLUMNS] at a time, of which a filtered row has BLOCKS; to
    bisect, [HIGH, WIDE].
    """
    held = v <= draw.SHORT
    long = draw.SHORT if filtered else draw.TILE
    block = max(32, triton.next_power_of_2(v)) if held else long
    warps = 16 if filtered and not held else min(max(block // 512, 1), 8)
    # To bisect, a thread holds its columns of every row: they are summed before threads meet.
    columns, wide = min(block, 128), min(block, 512 * warps // itemsize)
    return {
        "FILTERED": filtered, "HELD": held, "ROWS": block // columns, "COLUMNS": columns,
        # Eight numbers a thread at a time, where the row is read again.
        "HIGH": block // wide if held else itemsize // 2, "WIDE": wide,
        "TILES": triton.next_power_of_2(triton.cdiv(v, draw.TILE)),
        "BLOCKS": triton.next_power_of_2(triton.cdiv(v, block)),
    }, warps  # fmt: skip


_TILE: Mapping[str, int] = {"ROWS": draw.TILE // 128, "COLUMNS": 128}
"""How `_tiles` reads one, with four warps."""


def launch(
    logits: Tensor,
    noise: Tensor | Seeds,
    observed: Tensor,
    state: Drawn,
    filters: Filters | None,
) -> Drawn:
    """The operator for blocks of one position; the state is written where it is.

    Args:
        logits: [b, v], v up to 262,144; the last axis contiguous.
        noise: uniforms of every position, [b, T], or what they are made of.
        observed: values that win, -1 where free, [b, T].
        state: position, values, log p and, with filters, log q. A row that is not at 0 .. T - 1
            keeps what it has.
        filters: what the draw is filtered by, or None.

    Returns:
        the state.

    Raises:
        InvalidInput: tensors that do not belong together, no values, or more than 262,144.
    """
    _check(logits, noise, observed, state, filters)
    (b, v), length = logits.shape, observed.shape[1]
    if not b:
        return state
    made = (noise.key, noise.index) if isinstance(noise, Seeds) else (noise, observed)
    sizes = (logits.stride(0), length, v)
    # Where there are no filters and no tiles, what stands in their place is not read.
    floats = state.log_p
    tops = sums = floats
    if v > draw.SHORT:
        # Each of its own: half of one would be aligned for some numbers of rows only.
        tops = torch.empty(b, triton.cdiv(v, draw.TILE), device=logits.device)
        sums = torch.empty_like(tops)
        _tiles[tops.shape](logits, state.position, tops, sums, *sizes, **_TILE, num_warps=4)
    constants, warps = configuration(v, logits.itemsize, filters is not None)
    _step[(b,)](
        logits, *made, observed, *state[:3], floats if state.log_q is None else state.log_q,
        *(filters or (floats, observed, floats, floats)), tops, sums, *sizes,
        SEEDED=isinstance(noise, Seeds), **constants, num_warps=warps,
    )  # fmt: skip
    return state


def _check(
    logits: Tensor,
    noise: Tensor | Seeds,
    observed: Tensor,
    state: Drawn,
    filters: Filters | None,
) -> None:
    device = logits.device
    runs_kernels(device)
    if logits.ndim != 2 or not 1 <= logits.shape[1] <= LARGEST:
        raise InvalidInput(
            f"logits: expected [b, v] of 1 .. {LARGEST} values, got {tuple(logits.shape)}"
        )
    b = logits.shape[0]
    expect("logits", logits, tuple(logits.shape), FLOATS, device, strided=True)
    if observed.ndim != 2 or not observed.shape[1]:
        raise InvalidInput(f"observed: expected [b, T] positions, got {tuple(observed.shape)}")
    table = (b, observed.shape[1])
    expect("observed", observed, table, torch.int64, device)
    if isinstance(noise, Seeds):
        expect("key", noise.key, (3,), torch.int64, device)
        expect("index", noise.index, (b,), torch.int64, device)
    else:
        expect("noise", noise, table, torch.float32, device)
    expect("position", state.position, (b,), torch.int64, device)
    expect("values", state.values, table, torch.int64, device)
    expect("log_p", state.log_p, table, torch.float32, device)
    if (filters is None) != (state.log_q is None):
        given = ("log_q", "no filters") if filters is None else ("filters", "no log_q")
        raise InvalidInput(f"expected filters and log_q, or neither, got {' and '.join(given)}")
    if filters is not None and state.log_q is not None:
        expect("log_q", state.log_q, table, torch.float32, device)
        for name, setting in filters._asdict().items():
            dtype = torch.int64 if name == "top_k" else torch.float32
            expect(name, setting, (b,), dtype, device)


def overrides(settings: Settings) -> Table:
    """One position by the kernel; blocks, whose values are observed, by the reference."""
    return {sample_token: partial(_sample_one, settings.seeds)}


def _sample_one(
    seeds: Seeds | None,
    logits: Tensor,
    at: Tensor,
    u: Tensor,
    observed: Tensor,
    state: Drawn,
    filters: Filters | None,
    repeats: bool,
) -> Drawn:
    if logits.shape[1] != 1 or logits.shape[2] > LARGEST:
        return sample_token(logits, at, u, observed, state, filters, repeats)
    return launch(logits[:, 0], u if seeds is None else seeds, observed, state, filters)


def variants() -> list[Variant]:
    """Images of 17 and of 256 levels, GPT-2's values, and the most that there may be."""
    sizes = (17, 256, draw.SHORT, 50_257, LARGEST)
    found = []
    for v in sizes:
        for dtype in FLOATS:
            if v > draw.SHORT:
                found.append(_variant("tiles", _tiles, v, dtype, _TILE, 4))
            name = "short" if v <= draw.SHORT else "long"
            found.append(_variant(name, _step, v, dtype, *configuration(v, dtype.itemsize, False)))
    return found + [
        _variant("filtered", _step, v, dtype, *configuration(v, dtype.itemsize, True))
        for v in sizes
        for dtype in FLOATS
    ]


def _variant(
    name: str,
    function: Any,
    v: int,
    dtype: torch.dtype,
    constants: Mapping[str, object],
    warps: int,
) -> Variant:
    """A kernel over contiguous rows of v logits, which makes the noise."""
    types = {
        "logits": f"*{TYPES[dtype]}",
        **dict.fromkeys(("noise", "index", "observed", "position", "values", "top_k"), "*i64"),
        **dict.fromkeys(("log_ps", "log_qs", "temperatures", "top_p", "min_p"), "*fp32"),
        **dict.fromkeys(("tops", "sums"), "*fp32"),
        **dict.fromkeys(("stride", "T", "v"), "i32"),
    }
    seeded = {"SEEDED": True} if function is _step else {}
    return Variant(
        name=f"sample_token {name} v={v} {TYPES[dtype]}",
        function=function,
        arguments={each: types[each] for each in function.arg_names if each in types},
        constants={**seeded, **constants},
        warps=warps,
        divisible=("stride", "v") if v % 16 == 0 else (),
        wanted=("LDG.E.128",) if v % 16 == 0 else (),
    )
