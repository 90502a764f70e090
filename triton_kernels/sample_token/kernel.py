"""The end of a sampling step as kernels; without filters they read a row's logits at most twice.

A short row stays in the registers of one program. A long row is read in tiles by many programs,
which store the maximum and the sum of each tile, at temperature 1 and at the row's own; then one
program per row finds the tile that contains u C_last, and reads that tile again. The order of all
sums depends only on v. At temperature 1 log q has the bits of log p. A row of temperature 0 is read
once more, to find its first maximum.

A row without probabilities (a logit is NaN or +inf, or all are -inf) gets value 0, and log p and
log q are NaN. An observed value that is not below v becomes 0 with log p NaN.
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
from ancestral.triton_kernels.sample_token.adjustments import Adjusted, adjusted
from ancestral.triton_kernels.sample_token.alternatives import (
    TopValues,
    alternatives_of,
    noted,
    sample_adjusted,
)
from ancestral.triton_kernels.sample_token.filters import Filters, Temperature
from ancestral.triton_kernels.sample_token.inverse_cdf import unnormalised

LARGEST = 262_144
"""Largest number of values v of a position."""


@triton.jit(do_not_specialize=["T"])
@no_type_check
def _tiles(
    logits, position, temperatures, tops, sums, cooled, stride, T, v,
    FILTERED: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64)
    tile = tl.program_id(1)
    n = tl.load(position + row)
    if (n < 0) | (n >= T):
        return
    l = draw.load(logits + row * stride, tile * ROWS * COLUMNS + draw.grid(ROWS, COLUMNS), v)
    top = tl.max(l)
    # A tile with only -inf has the sum 0.
    z = l - tl.where(top == -float("inf"), 0.0, top)
    total = tl.sum(tl.exp(z))
    at = row * tl.num_programs(1) + tile
    tl.store(tops + at, top)
    tl.store(sums + at, total)
    if not FILTERED:
        temperature = tl.load(temperatures + row)
        if (temperature > 0) & (temperature != 1.0):
            total = tl.sum(tl.exp(draw.divided(z, temperature)))
        tl.store(cooled + at, total)


@triton.jit(do_not_specialize=["T"])
@no_type_check
def _step(
    logits, noise, index, observed, position, values, log_ps, log_qs,
    temperatures, top_k, top_p, min_p, tops, sums, cooled, stride, T, v,
    SEEDED: tl.constexpr, FILTERED: tl.constexpr, HELD: tl.constexpr,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr, HIGH: tl.constexpr, WIDE: tl.constexpr,
    TILES: tl.constexpr, BLOCKS: tl.constexpr,
):  # fmt: skip
    """Run the end of a step for one row; its logits are HELD in registers or summed in tiles."""
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
        top, masses = draw.merge(tops, sums, row, v, 1.0, TILES)
        total = tl.sum(masses)
    log_q = tl.full([], 0.0, tl.float32)
    if value < 0:
        temperature = tl.load(temperatures + row)
        if temperature > 0:
            u = draw.uniform(noise, index, row, n, T, SEEDED)
            if FILTERED:
                least, above = filtered_kernel.bounds(
                    logits, row, v, top, temperature, top_k, top_p, min_p, HELD, HIGH, WIDE
                )
                drawn, log_q = filtered_kernel.drawn(
                    logits, u, v, top, temperature, least, above, ROWS, COLUMNS, BLOCKS
                )
            else:
                if HELD:
                    w = tl.exp(draw.divided(l - top, temperature))
                    mass = tl.sum(w)
                    drawn = draw.first_at(w, at, u * mass)
                else:
                    _, masses = draw.merge(tops, cooled, row, v, temperature, TILES)
                    mass = tl.sum(masses)
                    tile, rest = draw.descend(masses, u * mass, TILES)
                    at = tile * ROWS * COLUMNS + draw.grid(ROWS, COLUMNS)
                    w = tl.exp(draw.cooled(logits, at, v, top, temperature))
                    drawn = draw.first_at(w, at, rest)
                log_q = draw.cooled(logits, drawn, v, top, temperature) - tl.log(mass)
        else:
            drawn = draw.first_maximum(logits, v, top, ROWS, COLUMNS)
        log_q = tl.where(total > 0, log_q, float("nan"))
        value = tl.where(total > 0, drawn, 0).to(tl.int64)
    tl.store(log_qs + row * T + n, log_q)
    draw.record(logits, v, top, total, position, values, log_ps, row, n, T, value)


def configuration(v: int, itemsize: int, filtered: bool) -> tuple[dict[str, object], int]:
    """Return the constants and warps of `_step` for rows of v logits of `itemsize` bytes each.

    To draw, a program reads [ROWS, COLUMNS] at a time; a filtered row has BLOCKS of them. To
    bisect, it reads [HIGH, WIDE] at a time.
    """
    held = v <= draw.SHORT
    long = draw.SHORT if filtered else draw.TILE
    block = max(32, triton.next_power_of_2(v)) if held else long
    warps = 16 if filtered and not held else min(max(block // 512, 1), 8)
    # To bisect, a thread sums the same columns of every row before threads synchronise.
    columns, wide = min(block, 128), min(block, 512 * warps // itemsize)
    return {
        "FILTERED": filtered, "HELD": held, "ROWS": block // columns, "COLUMNS": columns,
        # Eight numbers per thread at a time, if the row is read again.
        "HIGH": block // wide if held else itemsize // 2, "WIDE": wide,
        "TILES": triton.next_power_of_2(triton.cdiv(v, draw.TILE)),
        "BLOCKS": triton.next_power_of_2(triton.cdiv(v, block)),
    }, warps  # fmt: skip


_TILE: Mapping[str, int] = {"ROWS": draw.TILE // 128, "COLUMNS": 128}
"""Shape in which `_tiles` reads a tile, with four warps."""


def launch(
    logits: Tensor,
    noise: Tensor | Seeds,
    observed: Tensor,
    state: Drawn,
    settings: Temperature | Filters,
) -> Drawn:
    """Run the operator for blocks of one position; the state is written in place.

    Args:
        logits: [b, v], v up to 262,144; the last axis contiguous.
        noise: uniforms of every position, [b, T], or the `Seeds` to compute them from.
        observed: values to take instead of drawing, -1 where free, [b, T].
        state: position, values, log p and log q. A row whose position is not in 0 .. T - 1 is
            unchanged.
        settings: temperature of the draw, and filters if it has any.

    Returns:
        the state.

    Raises:
        InvalidInput: shapes, dtypes or devices do not match, or v is not in 1 .. 262,144.
    """
    _check(logits, noise, observed, state, settings)
    (b, v), length = logits.shape, observed.shape[1]
    if not b:
        return state
    made = (noise.key, noise.index) if isinstance(noise, Seeds) else (noise, observed)
    sizes = (logits.stride(0), length, v)
    # Without filters or tiles, the tensors passed in their place are not read.
    floats = state.log_p
    tops = sums = cooled = floats
    filtered = isinstance(settings, Filters)
    filters = settings[1:] if filtered else (observed, floats, floats)
    if v > draw.SHORT:
        # Separate tensors: the parts of one would not be aligned for every number of rows.
        tops = torch.empty(b, triton.cdiv(v, draw.TILE), device=logits.device)
        sums = torch.empty_like(tops)
        cooled = sums if filtered else torch.empty_like(tops)
        _tiles[tops.shape](
            logits, state.position, settings.temperature, tops, sums, cooled, *sizes,
            FILTERED=filtered, **_TILE, num_warps=4,
        )  # fmt: skip
    constants, warps = configuration(v, logits.itemsize, filtered)
    _step[(b,)](
        logits, *made, observed, *state, settings.temperature, *filters, tops, sums, cooled, *sizes,
        SEEDED=isinstance(noise, Seeds), **constants, num_warps=warps,
    )  # fmt: skip
    return state


def _check(
    logits: Tensor,
    noise: Tensor | Seeds,
    observed: Tensor,
    state: Drawn,
    settings: Temperature | Filters,
) -> None:
    device = logits.device
    runs_kernels(device)
    if logits.ndim != 2 or not 1 <= logits.shape[1] <= LARGEST:
        raise InvalidInput(
            f"logits: expected [b, v] with v in 1 .. {LARGEST}, got {tuple(logits.shape)}"
        )
    b = logits.shape[0]
    expect("logits", logits, tuple(logits.shape), FLOATS, device, strided=True)
    if observed.ndim != 2 or not observed.shape[1]:
        raise InvalidInput(f"observed: expected [b, T] with T >= 1, got {tuple(observed.shape)}")
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
    if state.log_q is None:
        raise InvalidInput("log_q: expected a tensor, got None")
    expect("log_q", state.log_q, table, torch.float32, device)
    for name, setting in settings._asdict().items():
        dtype = torch.int64 if name == "top_k" else torch.float32
        expect(name, setting, (b,), dtype, device)


def overrides(settings: Settings) -> Table:
    """Return what runs the kernel for one position; observed blocks run the references."""
    return {
        sample_token: partial(_sample_one, settings.seeds),
        sample_adjusted: partial(_sample_adjusted_one, settings.seeds),
    }


def _sample_one(
    seeds: Seeds | None,
    logits: Tensor,
    at: Tensor,
    u: Tensor,
    observed: Tensor,
    state: Drawn,
    settings: Temperature | Filters,
    repeats: bool,
) -> Drawn:
    if logits.shape[1] != 1 or logits.shape[2] > LARGEST:
        return sample_token(logits, at, u, observed, state, settings, repeats)
    return launch(logits[:, 0], u if seeds is None else seeds, observed, state, settings)


def _sample_adjusted_one(
    seeds: Seeds | None,
    logits: Tensor,
    at: Tensor,
    u: Tensor,
    observed: Tensor,
    state: tuple[Drawn, TopValues],
    settings: Adjusted,
    repeats: bool,
) -> tuple[Drawn, TopValues]:
    """Adjust the logits and find the alternatives in PyTorch, and draw by the kernel."""
    drawn, rows = state
    if logits.shape[1] != 1 or logits.shape[2] > LARGEST:
        return sample_adjusted(logits, at, u, observed, state, settings, repeats)
    wide = adjusted(logits, at, drawn.values, observed, settings.adjustments)
    new = alternatives_of(logits, wide, settings.filters, rows.ids.shape[-1])
    rows = noted(rows, drawn, at, new, repeats)
    ended = (drawn.position >= drawn.values.shape[1])[:, None]
    launch(wide[:, 0], u if seeds is None else seeds, observed, drawn, settings.filters)
    # The kernel has written log p of the adjusted distribution.
    shifted, w = unnormalised(logits)
    value = drawn.values.gather(1, at)[..., None]
    log_p = shifted.gather(-1, value)[..., 0] - w.sum(dim=-1).log()
    drawn.log_p.scatter_(1, at, torch.where(ended, drawn.log_p.gather(1, at), log_p))
    return drawn, rows


def variants() -> list[Variant]:
    """Return kernels for images of 17 and 256 levels, GPT-2's vocabulary, and the largest v."""
    sizes = (17, 256, draw.SHORT, 50_257, LARGEST)
    found = []
    for v in sizes:
        for dtype in FLOATS:
            if v > draw.SHORT:
                found += [
                    _variant(name, _tiles, v, dtype, {"FILTERED": filtered, **_TILE}, 4)
                    for name, filtered in (("tiles", False), ("tiles of filtered rows", True))
                ]
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
    """Return a kernel over contiguous rows of v logits that computes its own noise."""
    types = {
        "logits": f"*{TYPES[dtype]}",
        **dict.fromkeys(("noise", "index", "observed", "position", "values", "top_k"), "*i64"),
        **dict.fromkeys(("log_ps", "log_qs", "temperatures", "top_p", "min_p"), "*fp32"),
        **dict.fromkeys(("tops", "sums", "cooled"), "*fp32"),
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
