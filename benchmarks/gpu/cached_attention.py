"""Attention of one query per row over a full cache, compared with SDPA and FlexAttention.

Our kernel also appends the new key and value. The others get the cache as our kernel leaves it, and
append nothing. All attend to every slot, so that the others need no mask.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.attention.flex_attention import flex_attention
from torch.nn.functional import scaled_dot_product_attention

from ancestral.triton_kernels.cached_attention import cached_attention_reference
from benchmarks.gpu.clock import Captured, compiled, rerun_poisoned, rotated, sets_of
from benchmarks.gpu.operators import LONG, Others, compare, parity, worst
from benchmarks.gpu.part import Bench, Cell, Work, cells_of
from benchmarks.gpu.rows import GpuRow, Skipped

LEAST_SHARE = 0.85
"""Target at 64 rows of 8,192 slots: fraction of the bandwidth of a copy."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """Sizes of a cell: rows, slots, query heads, key/value heads, head size, dtype."""

    batch: int
    length: int
    heads: int = 32
    group_heads: int = 8
    d: int = 128
    dtype: torch.dtype = torch.bfloat16

    @property
    def name(self) -> str:
        """The sizes as text."""
        return (
            f"{self.batch} x {self.length:,} slots, {self.heads}/{self.group_heads} heads of "
            f"{self.d}"
        )

    @property
    def work(self) -> Work:
        """Every key and value is read once; queries, results and new keys and values are few."""
        cached = 2 * self.batch * self.group_heads * self.length * self.d
        others = 2 * self.batch * (self.heads + 2 * self.group_heads) * self.d
        operations = 4.0 * self.batch * self.heads * self.length * self.d
        return Work((cached + others) * self.dtype.itemsize, operations, self.dtype)


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
"""In order of importance, since time may run out."""
TINY = (
    Sizes(2, 16, 4, 2, 16),
    Sizes(2, 16, 2, 2, 16, torch.float32),
)


class Inputs(NamedTuple):
    """Inputs of a call: q [b, 1, h d], k, v [b, 1, g d], caches [b, g, T, d], position [b]."""

    q: Tensor
    k: Tensor
    v: Tensor
    k_cache: Tensor
    v_cache: Tensor
    position: Tensor

    @classmethod
    def drawn(cls, sizes: Sizes, device: torch.device) -> "Inputs":
        """Draw normal numbers from PyTorch's generator."""
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
    """Return one cell per entry of the grid."""
    return cells_of(TINY if bench.rehearsal else GRID, _cell)


def _cell(sizes: Sizes, bench: Bench) -> Iterator[GpuRow | Skipped]:
    from ancestral.triton_kernels.cached_attention.kernel import launch

    torch.manual_seed(0)
    count = sets_of(int(sizes.work.bytes), bench.device)
    turns = rotated([Inputs.drawn(sizes, bench.device) for _ in range(count)], bench.device)
    ours = Captured([partial(launch, *each) for each in turns], bench.device)
    # From here on the caches contain the new keys and values, which the others must see.
    found = parity(_pairs(turns, rerun_poisoned(ours)), sizes.dtype, LONG)
    longest = (sizes.batch, sizes.length) == (64, 8192)
    flex = compiled(flex_attention, bench.device)
    others = Others(
        {
            "SDPA": partial(_attend, scaled_dot_product_attention),
            "FlexAttention": partial(_attend, flex),
        },
        error=lambda outputs: worst(_pairs(turns[:1], [outputs[0].transpose(1, 2).flatten(2)])),
        least_ratio=1.0 if sizes.dtype == torch.bfloat16 else None,
        least_share=LEAST_SHARE if longest else None,
    )
    yield from compare(sizes, turns, ours, found, others, bench)


def _attend(attention: Callable[..., Tensor], each: Inputs) -> Tensor:
    """Return the result [b, h, 1, d] of a baseline."""
    grouped = each.query.shape[1] != each.k_cache.shape[1]
    return attention(each.query, each.k_cache, each.v_cache, enable_gqa=grouped)


def _pairs(turns: list[Inputs], outputs: list[Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield each row of the first and last call with its float64 reference, split by heads."""
    for call in {0, len(outputs) - 1}:
        each, d = turns[call], turns[call].k_cache.shape[3]
        for row in range(len(each.q)):
            one = slice(row, row + 1)
            wide = [x[one].double() for x in each[:-1]]
            exact = cached_attention_reference(*wide, each.position[one])[0]
            yield outputs[call][one].unflatten(-1, (-1, d)), exact.unflatten(-1, (-1, d))
