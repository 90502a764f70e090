"""Causal attention of whole sequences, beside FlashAttention and PyTorch's exact form."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import scaled_dot_product_attention

from ancestral.triton_kernels.masked_attention import masked_attention_reference
from benchmarks.gpu.clock import Captured, Side, rerun_poisoned
from benchmarks.gpu.exact import LONG, parity, relative_error
from benchmarks.gpu.floor import Work, name_of
from benchmarks.gpu.part import Bench, Cell, Skipped, ratio_of, sentence
from benchmarks.gpu.rows import Row

PART = "masked_attention"
LEAST_OF_FLASH, LEAST_OF_MATH = 0.8, 1.5
CALLS = 2
"""Of a graph: inputs are larger than any cache, and a call is long."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """Of a cell: positions, head width, dtype, rows, heads."""

    t: int
    d: int
    dtype: torch.dtype
    batch: int = 4
    heads: int = 16

    @property
    def name(self) -> str:
        """In words."""
        return f"{self.batch} x {self.t:,} positions, {self.heads} heads of {self.d}"

    @property
    def work(self) -> Work:
        """Two products over the positions up to each one's own; q, k, v, y."""
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
    """One for each of the sizes."""
    grid = TINY if bench.rehearsal else GRID
    return [Cell(f"{sizes.name}, {name_of(sizes.dtype)}", partial(_cell, sizes)) for sizes in grid]


def _cell(sizes: Sizes, bench: Bench) -> Iterator[Row | Skipped]:
    from ancestral.triton_kernels.masked_attention.kernel import launch

    torch.manual_seed(0)
    shape = (sizes.batch, sizes.heads, sizes.t, sizes.d)
    q, k, v = (torch.randn(shape, device=bench.device, dtype=sizes.dtype) for _ in range(3))
    ours = Captured([partial(launch, q, k, v, None, None, None)] * CALLS, bench.device)
    found = parity(_pairs(q, k, v, rerun_poisoned(ours)), sizes.dtype, LONG)
    exact = sizes.dtype == torch.float32
    backend = SDPBackend.MATH if exact else SDPBackend.FLASH_ATTENTION
    name = "SDPA, exact" if exact else "FlashAttention"
    sides, details, baseline = [Side("ours", ours.run, CALLS)], {"build_s": ours.build_s}, None

    def attend() -> Tensor:
        return scaled_dot_product_attention(q, k, v, is_causal=True)

    try:
        with sdpa_kernel(backend):
            theirs = Captured([attend] * CALLS, bench.device)
            theirs.run()
        details["baseline_build_s"] = theirs.build_s
        details["baseline_error"] = max(
            relative_error(*each) for each in _pairs(q, k, v, theirs.outputs[:1])
        )
        sides.append(Side(name, theirs.run, CALLS))
    except Exception as error:  # noqa: BLE001 - theirs: it is told, and ours is measured
        yield Skipped(f"{PART}, {sizes.name}, {name}", sentence(error))
    rounds = bench.clock().interleaved(sides)
    if len(rounds) == 2:
        baseline = (name, rounds[1])
    yield bench.row(
        (PART, sizes.name),
        sizes.dtype,
        rounds[0],
        found,
        work=sizes.work,
        baseline=baseline,
        targets=[ratio_of(LEAST_OF_MATH if exact else LEAST_OF_FLASH)],
        details=details,
    )


def _pairs(
    q: Tensor, k: Tensor, v: Tensor, outputs: list[Tensor]
) -> Iterator[tuple[Tensor, Tensor]]:
    """Every head of the last output, and the same in float64."""
    for row in range(q.shape[0]):
        for head in range(q.shape[1]):
            one = (slice(row, row + 1), slice(head, head + 1))
            wide = (x[one].double() for x in (q, k, v))
            yield outputs[-1][one], masked_attention_reference(*wide, None, None, None)
