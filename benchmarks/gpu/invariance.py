"""Batch invariance of the loop: whether a row knows its batch, and what invariance costs."""

import time
from collections.abc import Iterator
from functools import partial

import numpy as np
import torch

from ancestral.engine.backends.triton import TritonBinding
from ancestral.engine.step_loop import STEPS_PER_LAUNCH
from benchmarks.gpu.clock import Clock, Side
from benchmarks.gpu.loops import Loops, windows
from benchmarks.gpu.models import step_work
from benchmarks.gpu.part import Bench, Cell, Measured, Skipped
from benchmarks.gpu.rows import Row, Target

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


def _equal(loops: Loops, batches: tuple[int, ...], bench: Bench) -> Iterator[Row | Skipped]:
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

    def target(_: Measured) -> Target:
        return Target("every row equal", same == rows > 0)

    yield bench.row(
        (PART, f"{loops.stepped.name}, rows that are equal in {tried} batch sizes"),
        torch.float32,
        (float(same),),
        parity,
        unit=f"of {rows} rows",
        targets=[target],
        details={"rows": float(rows), "batches": float(tried)},
    )


def _invariance(loops: Loops, rows: int, name: str, bench: Bench) -> Iterator[Row]:
    """Our matrix product everywhere, beside cuBLAS where there are many rows."""
    dtype, length = torch.float32, loops.stepped.case.length
    own, other = (loops.bind(rows, dtype, invariant=invariant) for invariant in (True, False))
    parity = loops.parity(loops.pass_over(own, rows), dtype)
    loops.pass_over(other, rows)
    steps = min(STEPS_PER_LAUNCH, length // 2)
    start = windows(length, 1, steps)[0]

    def side(label: str, binding: TritonBinding) -> Side:
        position = np.full(rows, start, np.int64)
        rewind = partial(binding.write, "position", position)
        return Side(label, partial(binding.run, steps), steps, rewind)

    clock = Clock(bench.device, measure_ms=300.0, least=3)
    ours, theirs = clock.interleaved([side("ours", own), side("cuBLAS", other)])
    yield bench.row(
        (PART, name),
        dtype,
        ours,
        parity,
        unit="ms/step",
        work=step_work(loops.model(dtype), rows, start + steps / 2, dtype),
        baseline=("ours, not batch_invariant", theirs),
    )
