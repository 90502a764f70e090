"""Causal attention of whole sequences, compared with FlashAttention and exact SDPA."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import scaled_dot_product_attention

from ancestral.triton_kernels.masked_attention import masked_attention_reference
from benchmarks.gpu.clock import Captured, rerun_poisoned
from benchmarks.gpu.operators import LONG, Others, compare, parity, worst
from benchmarks.gpu.part import Bench, Cell, Work, cells_of
from benchmarks.gpu.rows import GpuRow, Skipped

LEAST_OF_FLASH, LEAST_OF_MATH = 0.8, 1.5
CALLS = 2
"""Calls in a graph; few, since inputs are larger than any cache and a call is long."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """Sizes of a cell: positions, head size, dtype, rows, heads."""

    t: int
    d: int
    dtype: torch.dtype
    batch: int = 4
    heads: int = 16

    @property
    def name(self) -> str:
        """The sizes as text."""
        return f"{self.batch} x {self.t:,} positions, {self.heads} heads of {self.d}"

    @property
    def work(self) -> Work:
        """Bytes of q, k, v and y; two products over the positions up to each query's own."""
        size = self.batch * self.heads * self.t * self.d
        return Work(4 * size * self.dtype.itemsize, 2.0 * size * (self.t + 1), self.dtype)


GRID = (
    Sizes(4096, 128, torch.bfloat16),
    Sizes(2048, 64, torch.float32),
    Sizes(8192, 128, torch.bfloat16),
    Sizes(4096, 64, torch.bfloat16),
    Sizes(8192, 64, torch.bfloat16),
    Sizes(2048, 128, torch.float32),
)
TINY = (Sizes(16, 16, torch.bfloat16, 2, 2), Sizes(16, 16, torch.float32, 2, 2))


def cells(bench: Bench) -> list[Cell]:
    """Return one cell per entry of the grid."""
    return cells_of(TINY if bench.rehearsal else GRID, _cell)


def _cell(sizes: Sizes, bench: Bench) -> Iterator[GpuRow | Skipped]:
    from ancestral.triton_kernels.masked_attention.kernel import launch

    torch.manual_seed(0)
    shape = (sizes.batch, sizes.heads, sizes.t, sizes.d)
    q, k, v = (torch.randn(shape, device=bench.device, dtype=sizes.dtype) for _ in range(3))
    turns = [(q, k, v)] * CALLS
    ours = Captured([partial(launch, *each, None, None, None) for each in turns], bench.device)
    found = parity(_pairs(q, k, v, rerun_poisoned(ours)), sizes.dtype, LONG)
    exact = sizes.dtype == torch.float32
    backend = SDPBackend.MATH if exact else SDPBackend.FLASH_ATTENTION

    def attend(each: tuple[Tensor, Tensor, Tensor]) -> Tensor:
        with sdpa_kernel(backend):
            return scaled_dot_product_attention(*each, is_causal=True)

    others = Others(
        {"SDPA, exact" if exact else "FlashAttention": attend},
        error=lambda outputs: worst(_pairs(q, k, v, outputs[:1])),
        least_ratio=LEAST_OF_MATH if exact else LEAST_OF_FLASH,
    )
    yield from compare(sizes, turns, ours, found, others, bench)


def _pairs(
    q: Tensor, k: Tensor, v: Tensor, outputs: list[Tensor]
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield every head of the last output with its float64 reference."""
    for row in range(q.shape[0]):
        for head in range(q.shape[1]):
            one = (slice(row, row + 1), slice(head, head + 1))
            wide = (x[one].double() for x in (q, k, v))
            yield outputs[-1][one], masked_attention_reference(*wide, None, None, None)
