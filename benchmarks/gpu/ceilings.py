"""The ceilings of this GPU: bytes/s of a copy, operations/s of large matrix products.

They are measured with random numbers, since a product of zeros can be faster. TF32 is off, so that
a float32 product is bound by its fused multiply-adds.
"""

from collections.abc import Iterator, Mapping
from functools import partial

import torch

from benchmarks.gpu.clock import Side
from benchmarks.gpu.operators import parity
from benchmarks.gpu.part import COPY, OURS, Bench, Cell, Work, name_of
from benchmarks.gpu.rows import GpuRow

COPIED = 2**32
"""Bytes that the copy reads."""
SIDE = 8192
"""Rows and columns of the matrices."""


def cells(bench: Bench) -> list[Cell]:
    """Return a cell for the copy, and one for a product in each dtype."""
    dtypes = (torch.float32, torch.bfloat16)
    products = [Cell(f"product, {name_of(dtype)}", partial(_product, dtype)) for dtype in dtypes]
    return [Cell(COPY, _copy), *products]


def of(rows: list[GpuRow]) -> Mapping[str, float]:
    """Return the ceilings in the rows of this part."""
    return {row.case: row.rate for row in rows if row.part == "ceilings" and row.rate is not None}


def _copy(bench: Bench) -> Iterator[GpuRow]:
    numbers = (2**12 if bench.rehearsal else COPIED) // 4
    source = torch.randn(numbers, device=bench.device)
    target = torch.full_like(source, torch.nan)
    rounds = bench.clock().interleaved([Side(OURS, lambda: target.copy_(source))])
    exact = parity([(target.view(-1, 64), source.view(-1, 64).double())], torch.float32)
    work = Work(2 * source.nbytes, 0, torch.float32)
    yield from bench.rows(COPY, torch.float32, rounds, exact, work=work)


def _product(dtype: torch.dtype, bench: Bench) -> Iterator[GpuRow]:
    n = 64 if bench.rehearsal else SIDE
    a, b = (torch.randn(n, n, device=bench.device, dtype=dtype) for _ in range(2))
    c = torch.full_like(a, torch.nan)
    rounds = bench.clock().interleaved([Side(OURS, lambda: torch.mm(a, b, out=c))])
    some = slice(None, None, max(1, n // 64))
    exact = parity([(c[some], a[some].double() @ b.double())], dtype, factor=10)
    work = Work(0, 2.0 * n**3, dtype)
    yield from bench.rows(name_of(dtype), dtype, rounds, exact, work=work)
