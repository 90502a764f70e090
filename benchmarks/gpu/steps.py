"""Whole sampling steps: our loop in CUDA graphs, compared with compiled loops run by Python.

All have the same weights, and alternate over the same stretches of an event.
"""

import time
from collections.abc import Iterator
from functools import partial

import numpy as np
import torch

from ancestral.engine.backends.triton import TritonBinding
from ancestral.engine.step_loop import STEPS_PER_LAUNCH
from ancestral.errors import ParityError
from benchmarks.gpu.clock import Side, compiled, finish, seconds
from benchmarks.gpu.loops import Loops, stretch, windows, worst_nats
from benchmarks.gpu.models import GPT2, IMAGE, TINY, cache_numbers, step_work
from benchmarks.gpu.part import OURS, Bench, Cell, name_of, sentence
from benchmarks.gpu.rows import GpuRow, Skipped, Target
from benchmarks.gpu.static_cache import ATTENTIONS, StaticLoop, decode
from benchmarks.parity import Parity

LEAST_RATIO = 2.0
"""Target at width 128: a compiled loop's time over ours."""
LATER_CELL_SECONDS = 4.0
"""Seconds reserved for our loop in each later cell."""
CHECKED = 128
"""Positions that a compiled loop draws, to check that it has the same model."""
BOTH = (torch.float32, torch.bfloat16)
Details = dict[str, float]


def cells(bench: Bench) -> list[Cell]:
    """Return cells for batches in both dtypes, by importance; batch invariance, and its cost."""
    if bench.rehearsal:
        tiny = Loops(TINY, bench.device, bench.bundles)
        found = [_timed(tiny, 2, dtype, 0) for dtype in BOTH]
        return [*found, equal(tiny, (1, 2)), invariance(tiny, 2)]
    image, gpt2 = (Loops(each, bench.device, bench.bundles) for each in (IMAGE, GPT2))
    order = [
        *((image, rows, torch.float32) for rows in (64, 1, 1024)),
        *((gpt2, 1, torch.bfloat16), (image, 64, torch.bfloat16), (gpt2, 32, torch.bfloat16)),
        *((image, 1, torch.bfloat16), (image, 1024, torch.bfloat16), (gpt2, 256, torch.bfloat16)),
        *((gpt2, rows, torch.float32) for rows in (1, 32, 256)),
    ]
    found = [_timed(*each, len(order) - i - 1) for i, each in enumerate(order)]
    return [*found[:3], equal(image, tuple(range(1, 65))), invariance(image, 1024), *found[3:]]


def _timed(loops: Loops, rows: int, dtype: torch.dtype, later: int) -> Cell:
    name = f"{loops.stepped.name}, {rows:,} rows, {name_of(dtype)}"
    return Cell(name, partial(_time, loops, rows, dtype, later))


def _time(
    loops: Loops, rows: int, dtype: torch.dtype, later: int, bench: Bench
) -> Iterator[GpuRow | Skipped]:
    binding, parity, own = _ours(loops, rows, dtype, bench)
    baselines: dict[str, StaticLoop] = {}
    details: dict[str, Details] = {}
    program = None
    for name in ATTENTIONS:
        what = f"{bench.part}, {loops.stepped.name}, {rows:,} rows, {name_of(dtype)}, {name}"
        needed = loops.compile_seconds + later * LATER_CELL_SECONDS
        if bench.left < needed:
            yield Skipped(what, f"{needed:.0f} s are needed, {bench.left:.0f} s are left")
            continue
        try:
            program = program or compiled(decode, bench.device, mode="reduce-overhead")
            baseline = StaticLoop(loops.model(dtype), rows, program, fused=ATTENTIONS[name])
            details[name] = _checked(loops, baseline, parity.limit)
        except Exception as error:  # noqa: BLE001 - a baseline's error is reported
            yield Skipped(what, sentence(error))
            continue
        baselines[name] = baseline
        loops.compile_seconds = 1.5 * details[name]["baseline_build_s"] + 5
    length, width = loops.stepped.case.length, loops.model(dtype).config.width
    steps = min(STEPS_PER_LAUNCH, length // 2)
    turns: list[Side] = []
    for start in windows(length, loops.stepped.windows, steps):
        turns.append(stretch(OURS, binding, rows, start, steps))
        turns += [
            Side(name, partial(baseline.run, start, steps), steps)
            for name, baseline in baselines.items()
        ]
    rounds = bench.clock(measure_ms=300.0, least=3).interleaved(turns)
    hosts = {side.name: host_share(side) for side in turns[: len(rounds)]}
    own["samples_per_s"] = rows / (float(np.median(rounds[OURS])) * 1e-3 * length)
    own["host_share"] = hosts[OURS]
    for name in baselines:
        details[name]["baseline_host_share"] = hosts[name]
    yield from bench.rows(
        f"{loops.stepped.name}, {rows:,} rows",
        dtype,
        rounds,
        parity,
        unit="ms/step",
        work=step_work(loops.model(dtype), rows, (length - 1) / 2, dtype),
        least_ratio=LEAST_RATIO if width == 128 else None,
        details=details | {OURS: own},
    )


def _ours(
    loops: Loops, rows: int, dtype: torch.dtype, bench: Bench
) -> tuple[TritonBinding, Parity, Details]:
    """Return our loop after whole events, their parity, and the time and memory that they took.

    Raises:
        ParityError: the events are not exact; nothing is timed.
    """
    model = loops.model(dtype)
    before = 0
    if not bench.rehearsal:
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
    binding = loops.bind(rows, dtype)
    details = {"build_s": seconds(lambda: loops.pass_over(binding, rows))}
    if not bench.rehearsal:
        weights = sum(each.nbytes for each in model.parameters())
        caches = cache_numbers(model, rows) * dtype.itemsize
        peak = torch.cuda.max_memory_allocated() - before
        details["peak_mb"] = peak / 1e6
        details["peak_of_weights_and_caches"] = (weights + peak) / (weights + caches)
    parity = loops.parity(loops.pass_over(binding, rows), dtype)
    if parity.failures:
        raise ParityError("; ".join(parity.failures))
    return binding, parity, details


def _checked(loops: Loops, baseline: StaticLoop, limit: float) -> Details:
    """Compile a baseline, draw with it, and check that log p of the draws is the model's.

    Args:
        loops: loops of the model.
        baseline: baseline that has not run yet.
        limit: limit of the error of log p in nats, the same as ours.

    Raises:
        ParityError: log p differs by more than the limit.
    """
    from torch._dynamo.utils import counters

    counters.clear()
    first = seconds(lambda: baseline.run(0, 3))
    values, log_ps = baseline.run(0, min(CHECKED, loops.stepped.case.length))
    x, log_p = (torch.stack(each, dim=1)[:4].cpu().numpy() for each in (values, log_ps))
    nats = worst_nats(log_p, loops.reference(x)[0])
    if not nats <= limit:
        raise ParityError(
            f"log p of its draws: expected a difference of {limit:.3g} nats or less, got {nats:.3g}"
        )
    return {
        "baseline_build_s": first,
        "baseline_nats": nats,
        "baseline_graphs_skipped": float(counters["inductor"]["cudagraph_skips"]),
    }


def host_share(side: Side) -> float:
    """Return the fraction of a side's time that the host needs to launch it."""
    side.prepare()
    finish()
    begin = time.perf_counter()
    side.run()
    launched = time.perf_counter()
    finish()
    return (launched - begin) / (time.perf_counter() - begin)


BATCH_SECONDS = 15.0
"""Seconds for all batch sizes together."""
_STRIDE = 29
"""Odd, so that the order of batch sizes is spread over all of them, if time runs out."""


def equal(loops: Loops, batches: tuple[int, ...]) -> Cell:
    """Return the cell that checks that a row has the same bits in every batch."""
    name = f"{loops.stepped.name}, rows in batches of {batches[0]} .. {batches[-1]}"
    return Cell(name, partial(_equal, loops, batches))


def invariance(loops: Loops, rows: int) -> Cell:
    """Return the cell that measures the cost of batch invariance."""
    name = f"{loops.stepped.name}, {rows:,} rows, batch_invariant"
    return Cell(name, partial(_invariance, loops, rows, name))


def _equal(loops: Loops, batches: tuple[int, ...], bench: Bench) -> Iterator[GpuRow | Skipped]:
    """Compare values and log p of each row with the same row in the largest batch."""
    largest, until = max(batches), time.monotonic() + BATCH_SECONDS
    whole = loops.pass_over(loops.bind(largest, torch.float32, invariant=True), largest)
    parity = loops.parity(whole, torch.float32)
    same, rows, tried = 0, 0, 0
    for batch in sorted(batches, key=lambda b: b * _STRIDE % 64):
        if time.monotonic() > until and not bench.rehearsal:
            what = f"{bench.part}, {loops.stepped.name}, {len(batches) - tried} batch sizes"
            yield Skipped(what, f"the {BATCH_SECONDS:.0f} s for all of them are over")
            break
        part = loops.pass_over(loops.bind(batch, torch.float32, invariant=True), batch)
        alike = (part.values == whole.values[:batch]) & (part.log_p == whole.log_p[:batch])
        same, rows, tried = same + int(alike.all(axis=1).sum()), rows + batch, tried + 1
    yield from bench.rows(
        f"{loops.stepped.name}, rows that are equal in {tried} batch sizes",
        torch.float32,
        {OURS: (float(same),)},
        parity,
        unit=f"of {rows} rows",
        targets=[Target("every row equal", same == rows > 0)],
        details={OURS: {"rows": float(rows), "batches": float(tried)}},
    )


def _invariance(loops: Loops, rows: int, name: str, bench: Bench) -> Iterator[GpuRow]:
    """Compare our matrix product for any number of rows with cuBLAS for many rows."""
    dtype, length = torch.float32, loops.stepped.case.length
    own, other = (loops.bind(rows, dtype, invariant=invariant) for invariant in (True, False))
    parity = loops.parity(loops.pass_over(own, rows), dtype)
    loops.pass_over(other, rows)
    steps = min(STEPS_PER_LAUNCH, length // 2)
    start = windows(length, 1, steps)[0]
    sides = [
        stretch(label, binding, rows, start, steps)
        for label, binding in ((OURS, own), ("ours, not batch_invariant", other))
    ]
    yield from bench.rows(
        name,
        dtype,
        bench.clock(measure_ms=300.0, least=3).interleaved(sides),
        parity,
        unit="ms/step",
        work=step_work(loops.model(dtype), rows, start + steps / 2, dtype),
    )
