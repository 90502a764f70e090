"""The end of a sampling step as kernels: the logits of a row are read at most twice.

A short row stays in the registers of one program. A long one is read in tiles by many programs,
which leave the maximum and the sum of each; then one program a row finds the tile that holds
u C_last, and reads that tile again. All sums are in an order that follows from v alone.

A row without probabilities (a logit is NaN or +inf, or all are -inf) gets value 0 and log p and
log q NaN; an observed value that is none of the v becomes 0 with log p NaN.
"""

from functools import partial
from typing import NamedTuple, no_type_check

import torch
import triton
import triton.language as tl
from torch import Tensor

from ancestral.errors import InvalidInput
from ancestral.triton_kernels.checks import FLOATS, expect, runs_kernels
from ancestral.triton_kernels.overridable import Seeds, Settings, Table
from ancestral.triton_kernels.sample_token import Drawn, draw, filtered_kernel, sample_token
from ancestral.triton_kernels.sample_token.filters import Filters
from ancestral.triton_kernels.variant import Variant

LARGEST = 262_144
"""So many values a position may have."""


@triton.jit(do_not_specialize=["T"])
@no_type_check
def _short(
    logits, noise, index, observed, position, values, log_ps, stride, T, v,
    SEEDED: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64)
    logits += row * stride
    at = draw.grid(ROWS, COLUMNS)
    l = draw.load(logits, at, v)
    n = tl.load(position + row)
    if (n < 0) | (n >= T):
        return
    value = tl.load(observed + row * T + n)
    top = tl.max(l)
    w = tl.exp(l - top)
    total = tl.sum(w)
    if value < 0:
        u = draw.uniform(noise, index, row, n, T, SEEDED)
        drawn = draw.first_at(w, at, u * total)
        value = tl.where(total > 0, drawn, 0).to(tl.int64)
    draw.record(logits, v, top, total, position, values, log_ps, row, n, T, value)


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
def _long(
    logits, noise, index, observed, position, values, log_ps, tops, sums, stride, T, v,
    SEEDED: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr, TILES: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64)
    logits += row * stride
    n = tl.load(position + row)
    if (n < 0) | (n >= T):
        return
    value = tl.load(observed + row * T + n)
    top, masses = draw.merge(tops, sums, row, v, TILES)
    total = tl.sum(masses)
    if value < 0:
        u = draw.uniform(noise, index, row, n, T, SEEDED)
        tile, rest = draw.descend(masses, u * total, TILES)
        at = tile * ROWS * COLUMNS + draw.grid(ROWS, COLUMNS)
        drawn = draw.first_at(tl.exp(draw.load(logits, at, v) - top), at, rest)
        value = tl.where(total > 0, drawn, 0).to(tl.int64)
    draw.record(logits, v, top, total, position, values, log_ps, row, n, T, value)


class Configuration(NamedTuple):
    """What a program reads at a time, of how many tiles, with how many warps."""

    rows: int
    columns: int
    tiles: int
    warps: int


def configuration(v: int) -> Configuration:
    """For rows of v logits."""
    if v > draw.SHORT:
        return Configuration(draw.TILE // 128, 128, triton.cdiv(v, draw.TILE), 4)
    block = max(32, triton.next_power_of_2(v))
    columns = min(block, 128)
    return Configuration(block // columns, columns, 1, min(max(block // 512, 1), 8))


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
    seeded = isinstance(noise, Seeds)
    made = (noise.key, noise.index) if isinstance(noise, Seeds) else (noise, observed)
    given = (logits, *made, observed, *state[:3])
    sizes = (logits.stride(0), length, v)
    rows, columns, tiles, warps = configuration(v)
    shape = {"ROWS": rows, "COLUMNS": columns, "num_warps": warps}
    sums = None
    if tiles > 1:
        # Each of its own: half of one would be aligned for some numbers of rows alone.
        tops = torch.empty(b, tiles, device=logits.device)
        sums = (tops, torch.empty_like(tops))
        _tiles[(b, tiles)](logits, state.position, *sums, *sizes, **shape)
    if filters is not None and state.log_q is not None:
        filtered_kernel.run((*given, state.log_q, *filters), sums, sizes, seeded)
    elif sums is None:
        _short[(b,)](*given, *sizes, SEEDED=seeded, **shape)
    else:
        power = triton.next_power_of_2(tiles)
        _long[(b,)](*given, *sums, *sizes, SEEDED=seeded, TILES=power, **shape)
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
    each = [one for v in sizes for dtype in FLOATS for one in _variants(v, dtype)]
    return [*each, *filtered_kernel.variants()]


def _variants(v: int, dtype: torch.dtype) -> list[Variant]:
    rows, columns, tiles, warps = configuration(v)
    shape = {"ROWS": rows, "COLUMNS": columns}
    if tiles == 1:
        return [draw.variant("short", _short, v, dtype, shape, warps)]
    power = {"TILES": triton.next_power_of_2(tiles)}
    return [
        draw.variant("tiles", _tiles, v, dtype, shape, warps),
        draw.variant("long", _long, v, dtype, shape | power, warps),
    ]
