"""Batch invariance of the loop: whether a row knows its batch, and what invariance costs."""

import time
from collections.abc import Iterator
from functools import partial

import torch

from ancestral.engine.step_loop import STEPS_PER_LAUNCH
from benchmarks.gpu.clock import Side
from benchmarks.gpu.loops import Loops, rewound, windows
from benchmarks.gpu.models import step_work
from benchmarks.gpu.part import OURS, Bench, Cell
from benchmarks.gpu.rows import GpuRow, Skipped, Target

PART = "steps"
BATCH_SECONDS = 15.0
"""For all batch sizes together."""
_STRIDE = 29
"""Odd: batch sizes come in an order that is spread over all, where time runs out."""


def equal(loops: Loops, batches: tuple[int, ...]) -> Cell:
    """Whether the bits of a row are the same in every batch."""
    name = f"{loops.stepped.name}, rows in batches of {batches[0]} .. {batches[-1]}"
    return Cell(name, partial(_equal, loops, batches))


def invariance(loops: Loops, rows: int) -> Cell:
    """What it costs."""
    name = f"{loops.stepped.name}, {rows:,} rows, batch_invariant"
    return Cell(name, partial(_invariance, loops, rows, name))


def _equal(loops: Loops, batches: tuple[int, ...], bench: Bench) -> Iterator[GpuRow | Skipped]:
    """Values and log p of each row beside those of the same row of the largest batch."""
    largest, until = max(batches), time.monotonic() + BATCH_SECONDS
    whole = loops.pass_over(loops.bind(largest, torch.float32, invariant=True), largest)
    parity = loops.parity(whole, torch.float32)
    same, rows, tried = 0, 0, 0
    for batch in sorted(batches, key=lambda b: b * _STRIDE % 64):
        if time.monotonic() > until and not bench.rehearsal:
            what = f"{PART}, {loops.stepped.name}, {len(batches) - tried} batch sizes"
            yield Skipped(what, f"time: {BATCH_SECONDS:.0f} s for all")
            break
        part = loops.pass_over(loops.bind(batch, torch.float32, invariant=True), batch)
        alike = (part.values == whole.values[:batch]) & (part.log_p == whole.log_p[:batch])
        same, rows, tried = same + int(alike.all(axis=1).sum()), rows + batch, tried + 1
    yield from bench.rows(
        (PART, f"{loops.stepped.name}, rows that are equal in {tried} batch sizes"),
        torch.float32,
        {OURS: (float(same),)},
        parity,
        unit=f"of {rows} rows",
        targets=[Target("every row equal", same == rows > 0)],
        details={OURS: {"rows": float(rows), "batches": float(tried)}},
    )


def _invariance(loops: Loops, rows: int, name: str, bench: Bench) -> Iterator[GpuRow]:
    """Our matrix product everywhere, beside cuBLAS where there are many rows."""
    dtype, length = torch.float32, loops.stepped.case.length
    own, other = (loops.bind(rows, dtype, invariant=invariant) for invariant in (True, False))
    parity = loops.parity(loops.pass_over(own, rows), dtype)
    loops.pass_over(other, rows)
    steps = min(STEPS_PER_LAUNCH, length // 2)
    start = windows(length, 1, steps)[0]
    sides = [
        Side(label, partial(binding.run, steps), steps, rewound(binding, rows, start))
        for label, binding in ((OURS, own), ("ours, not batch_invariant", other))
    ]
    yield from bench.rows(
        (PART, name),
        dtype,
        bench.clock(measure_ms=300.0, least=3).interleaved(sides),
        parity,
        unit="ms/step",
        work=step_work(loops.model(dtype), rows, start + steps / 2, dtype),
    )
