"""Attention of one query a row over a full cache, beside PyTorch's and FlexAttention.

Ours appends the new key and value beside; theirs are given the cache as ours leaves it, and append
nothing. All attend to every slot, so that theirs need no mask.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor
from torch.nn.attention.flex_attention import flex_attention
from torch.nn.functional import scaled_dot_product_attention

from ancestral.triton_kernels.cached_attention import cached_attention_reference
from benchmarks.gpu.clock import Captured, Side, rerun_poisoned, rotated, sets_of
from benchmarks.gpu.compiled import compiled
from benchmarks.gpu.exact import LONG, parity, relative_error
from benchmarks.gpu.floor import Work, name_of
from benchmarks.gpu.part import Bench, Cell, Skipped, ratio_of, sentence, share_of
from benchmarks.gpu.rows import Parity, Row

PART = "cached_attention"
LEAST_SHARE = 0.85
"""Of the bandwidth of a copy, at 64 rows of 8,192 slots."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """Of a cell: rows, slots, query heads, key/value heads, head width."""

    batch: int
    length: int
    heads: int = 32
    group_heads: int = 8
    d: int = 128
    dtype: torch.dtype = torch.bfloat16

    @property
    def name(self) -> str:
        """In words."""
        return (
            f"{self.batch} x {self.length:,} slots, {self.heads}/{self.group_heads} heads of "
            f"{self.d}"
        )

    @property
    def work(self) -> Work:
        """Every key and value is read once; the queries, results and new ones are few."""
        cached = 2 * self.batch * self.group_heads * self.length * self.d
        beside = 2 * self.batch * (self.heads + 2 * self.group_heads) * self.d
        operations = 4.0 * self.batch * self.heads * self.length * self.d
        return Work((cached + beside) * self.dtype.itemsize, operations, self.dtype)


GRID = (
    Sizes(64, 8192),
    Sizes(1, 2048),
    Sizes(16, 2048),
    Sizes(64, 512),
    Sizes(1, 8192),
    Sizes(64, 2048),
    Sizes(16, 8192),
    Sizes(1, 512),
    Sizes(16, 512),
    Sizes(64, 2048, dtype=torch.float32),
    Sizes(64, 2048, heads=12, group_heads=12, d=64),
)
"""In order of importance: time may run out."""
TINY = (
    Sizes(2, 16, 4, 2, 16),
    Sizes(2, 16, 2, 2, 16, torch.float32),
)


@dataclass(frozen=True, slots=True)
class Inputs:
    """Of one call: q [b, 1, h d], k and v [b, 1, g d], the caches [b, g, T, d], position [b]."""

    q: Tensor
    k: Tensor
    v: Tensor
    k_cache: Tensor
    v_cache: Tensor
    position: Tensor

    @classmethod
    def drawn(cls, sizes: Sizes, device: torch.device) -> "Inputs":
        """Normal numbers, from PyTorch's generator."""
        b, d, g = sizes.batch, sizes.d, sizes.group_heads

        def normal(*shape: int) -> Tensor:
            return torch.randn(shape, device=device, dtype=sizes.dtype)

        q, k, v = normal(b, 1, sizes.heads * d), normal(b, 1, g * d), normal(b, 1, g * d)
        caches = [normal(b, g, sizes.length, d) for _ in range(2)]
        position = torch.full((b,), sizes.length - 1, device=device)
        return cls(q, k, v, *caches, position)

    @property
    def query(self) -> Tensor:
        """q as [b, h, 1, d]."""
        return self.q.unflatten(-1, (-1, self.k_cache.shape[3])).transpose(1, 2)


def cells(bench: Bench) -> list[Cell]:
    """One for each of the sizes."""
    grid = TINY if bench.rehearsal else GRID
    return [Cell(f"{sizes.name}, {name_of(sizes.dtype)}", partial(_cell, sizes)) for sizes in grid]


def _cell(sizes: Sizes, bench: Bench) -> Iterator[Row | Skipped]:
    from ancestral.triton_kernels.cached_attention.kernel import launch

    torch.manual_seed(0)
    once = int(sizes.work.bytes)
    sets = [Inputs.drawn(sizes, bench.device) for _ in range(sets_of(once, bench.device))]
    turns = rotated(sets, bench.device)
    ours = Captured(
        [
            partial(launch, each.q, each.k, each.v, each.k_cache, each.v_cache, each.position)
            for each in turns
        ],
        bench.device,
    )
    # From here on the caches hold the new keys and values, which theirs are to see.
    found = parity(_pairs(turns, rerun_poisoned(ours)), sizes.dtype, LONG)
    sides, details = [Side("ours", ours.run, ours.calls)], {"ours": {"build_s": ours.build_s}}
    for name, attend in _theirs(sizes, bench).items():
        try:
            built, details[name] = _built(attend, turns, bench)
        except Exception as error:  # noqa: BLE001 - theirs: it is told, and ours is measured
            yield Skipped(f"{PART}, {sizes.name}, {name}", sentence(error))
            continue
        sides.append(Side(name, built.run, built.calls))
    rounds = bench.clock().interleaved(sides)
    yield from _rows(sizes, bench, found, dict(zip((s.name for s in sides), rounds, strict=True)),
                     details)  # fmt: skip


def _rows(
    sizes: Sizes,
    bench: Bench,
    found: Parity,
    rounds: Mapping[str, tuple[float, ...]],
    details: Mapping[str, dict[str, float]],
) -> Iterator[Row]:
    targets = [ratio_of(1.0)] if sizes.dtype == torch.bfloat16 else []
    if (sizes.batch, sizes.length) == (64, 8192):
        targets.append(share_of(LEAST_SHARE))
    for name in [each for each in rounds if each != "ours"] or [None]:
        yield bench.row(
            (PART, sizes.name),
            sizes.dtype,
            rounds["ours"],
            found,
            work=sizes.work,
            baseline=None if name is None else (name, rounds[name]),
            targets=targets,
            details=details["ours"] | ({} if name is None else details[name]),
        )


def _theirs(sizes: Sizes, bench: Bench) -> Mapping[str, Callable[[Inputs], Tensor]]:
    """Results [b, h, 1, d] of each baseline."""
    grouped = sizes.heads != sizes.group_heads
    flex = compiled(flex_attention, bench)

    def sdpa(each: Inputs) -> Tensor:
        return scaled_dot_product_attention(
            each.query, each.k_cache, each.v_cache, enable_gqa=grouped
        )

    def flexible(each: Inputs) -> Tensor:
        return flex(each.query, each.k_cache, each.v_cache, enable_gqa=grouped)

    return {"SDPA": sdpa, "FlexAttention": flexible}


def _built(
    attend: Callable[[Inputs], Tensor], turns: list[Inputs], bench: Bench
) -> tuple[Captured[Tensor], dict[str, float]]:
    """A baseline in a graph; how long that took, and its own error."""
    captured = Captured([partial(attend, each) for each in turns], bench.device)
    captured.run()
    pairs = _pairs(turns[:1], [captured.outputs[0].transpose(1, 2).flatten(2)])
    error = max(relative_error(got, exact) for got, exact in pairs)
    return captured, {"baseline_build_s": captured.build_s, "baseline_error": error}


def _pairs(turns: list[Inputs], outputs: list[Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
    """Each row of the first and the last call, and the same in float64; by heads."""
    for call in {0, len(outputs) - 1}:
        each, d = turns[call], turns[call].k_cache.shape[3]
        for row in range(len(each.q)):
            one = slice(row, row + 1)
            wide = [x[one].double() for x in (each.q, each.k, each.v, each.k_cache, each.v_cache)]
            exact = cached_attention_reference(*wide, each.position[one])[0]
            yield outputs[call][one].unflatten(-1, (-1, d)), exact.unflatten(-1, (-1, d))
