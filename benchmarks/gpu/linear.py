"""Cost of batch invariance: our matrix product at GPT-2's sizes, compared with cuBLAS."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from ancestral.triton_kernels.linear import linear
from benchmarks.gpu.clock import Captured, rerun_poisoned, rotated, sets_of
from benchmarks.gpu.operators import LONG, Others, compare, parity, worst
from benchmarks.gpu.part import Bench, Cell, Work, cells_of
from benchmarks.gpu.rows import GpuRow, Skipped

Inputs = tuple[Tensor, Tensor, Tensor | None]
"""x, the weight, and a bias if the weight is not tied."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """Sizes of a cell: rows, inputs, results, dtype; whether the weight has a row per result."""

    batch: int
    i: int
    o: int
    dtype: torch.dtype
    transposed: bool = False

    @property
    def name(self) -> str:
        """The sizes as text."""
        return f"{self.batch} x {self.i:,} to {self.o:,}{', tied' if self.transposed else ''}"

    @property
    def work(self) -> Work:
        """Bytes of weight, inputs and results; a multiplication and an addition per weight."""
        size = self.dtype.itemsize
        result = 4 if self.transposed else size
        moved = self.i * self.o * size + self.batch * (self.i * size + self.o * result)
        return Work(moved, 2.0 * self.batch * self.i * self.o, self.dtype)


MAPS = ((768, 2304), (768, 3072), (3072, 768), (768, 50_257))
"""GPT-2 small's maps; the last is the token embedding: float32 logits, no bias."""
GRID = tuple(
    Sizes(batch, i, o, dtype, o == 50_257)
    for batch in (1, 64, 16, 256)
    for dtype in (torch.float32, torch.bfloat16)
    for i, o in MAPS
)
TINY = (Sizes(2, 16, 32, torch.float32), Sizes(2, 16, 24, torch.bfloat16, True))


def cells(bench: Bench) -> list[Cell]:
    """Return one cell per entry of the grid."""
    return cells_of(TINY if bench.rehearsal else GRID, _cell)


def _cell(sizes: Sizes, bench: Bench) -> Iterator[GpuRow | Skipped]:
    from ancestral.triton_kernels.linear.kernel import launch

    torch.manual_seed(0)
    count, tied = sets_of(int(sizes.work.bytes), bench.device), sizes.transposed
    turns = rotated([_drawn(sizes, bench.device) for _ in range(count)], bench.device)
    ours = Captured([partial(launch, *each, "none", tied, tied) for each in turns], bench.device)
    found = parity(_pairs(sizes, turns, rerun_poisoned(ours)), sizes.dtype, LONG)
    others = Others({"cuBLAS": _cublas}, error=lambda found: worst(_pairs(sizes, turns, found)))
    yield from compare(sizes, turns, ours, found, others, bench)


def _drawn(sizes: Sizes, device: torch.device) -> Inputs:
    """Draw x, the weight, and a bias if the weight is not tied."""

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, device=device, dtype=sizes.dtype)

    weight = normal(*((sizes.o, sizes.i) if sizes.transposed else (sizes.i, sizes.o)))
    weight *= sizes.i**-0.5
    return normal(sizes.batch, sizes.i), weight, None if sizes.transposed else normal(sizes.o)


def _cublas(inputs: Inputs) -> Tensor:
    """Compute the same with PyTorch; the logits of a tied weight stay in its dtype."""
    x, weight, bias = inputs
    return torch.mm(x, weight.T) if bias is None else torch.addmm(bias, x, weight)


def _pairs(
    sizes: Sizes, turns: list[Inputs], outputs: list[Tensor]
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the results of the first and last call with their float64 references."""
    for call in {0, len(outputs) - 1}:
        x, weight, bias = turns[call]
        wide = None if bias is None else bias.double()
        exact = linear(x.double(), weight.double(), wide, transposed=sizes.transposed)
        yield outputs[call], exact
