"""Measure the cases and append a row for each quantity.

    python -m benchmarks.run                        W1 and W2, everything
    python -m benchmarks.run W2 --batch 1 --only decode host
    python -m benchmarks.run tiny --results DIR     a rehearsal in seconds

Exit status 1: a run did not keep the probabilities, and no row was written of it. The last line is
a JSON summary.
"""

import argparse
import json
import os
import sys
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, get_args

import numpy as np

from ancestral.engine import Engine
from ancestral.errors import ParityError
from benchmarks import decode, memory
from benchmarks.cases import CASES, Case, bundle
from benchmarks.machine import Machine, this_machine
from benchmarks.rows import RESULTS, Parity, Row, append, commit, paired_ratio, percentiles

Part = Literal["decode", "host", "cache", "memory"]
PARTS: tuple[Part, ...] = get_args(Part)
PLAIN = "plain loop"
LEAST_RATIO = 0.95
"""Of the plain loop's time over ours, everywhere."""
LARGE_VOCABULARY = 50_000
"""From here on and from 8 rows on, the loop has to be faster than the plain one."""
HOST_SHARE = 0.05
CACHE_SLOWDOWN = 1.10
WHOLE = "whole network"
LEAST_TIMES_FASTER = {1: 20, 16: 60}
"""Than the whole network at each position of 28 x 28, by the number of rows."""
MEMORY_RATIO = 1.3
LOAD_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Run:
    """What all rows of one run share."""

    machine: Machine
    commit: str
    date: str
    load_average: float
    threads: int
    rounds: int
    loads: int
    results: Path

    def row(  # noqa: PLR0913 - a row's own fields
        self,
        case: Case,
        quantity: str,
        unit: str,
        batch: int,
        rounds: tuple[float, ...],
        parity: Parity,
        *,
        baseline: str | None = None,
        baseline_rounds: tuple[float, ...] = (),
        ratio: float | None = None,
        warm_ups: int = decode.WARM_UPS,
    ) -> Row:
        """A row without a target."""
        return Row(
            case=case.name,
            quantity=quantity,
            unit=unit,
            batch=batch,
            threads=self.threads,
            rounds=rounds,
            **percentiles(rounds),
            warm_ups=warm_ups,
            baseline=baseline,
            baseline_rounds=baseline_rounds,
            ratio=ratio,
            target=None,
            met=None,
            peak_memory_mb=None,
            parity=parity,
            machine=self.machine,
            commit=self.commit,
            date=self.date,
            load_average=self.load_average,
        )

    def append(self, row: Row) -> Row:
        """Write a row and print it."""
        append(row, self.results)
        met = {True: "met", False: "MISSED", None: ""}[row.met]
        beside = f"  {row.baseline} {np.median(row.baseline_rounds):.4g}" if row.baseline else ""
        ratio = "" if row.ratio is None else f"  ratio {row.ratio:.3f}"
        target = "" if row.target is None else f" ({row.target}: {met})"
        print(
            f"{row.case:8} {row.quantity:18} batch {row.batch:<3} {row.p50:.4g} {row.unit} "
            f"[{row.p20:.4g}, {row.p80:.4g}]{beside}{ratio}{target}",
            flush=True,
        )
        return row


def measure(case: Case, run: Run, batches: tuple[int, ...], parts: tuple[Part, ...]) -> list[Row]:
    """All parts of a case; the engine that is timed is the one that is verified.

    Raises:
        ParityError: the probabilities are wrong; rows before that one are written.
    """
    engine = Engine.load(bundle(case), backend="onnxruntime", threads=run.threads)
    parity = _verified(case, engine)
    rows = []
    if "decode" in parts:
        for batch in batches:
            if case.plain:
                rows += measure_decode(case, engine, run, batch, parity)
            else:
                rows.append(measure_cached(case, engine, run, batch, parity))
    if "host" in parts:
        rows.append(measure_host(case, engine, run, parity))
    if "cache" in parts and f"{case.name}-long" in CASES:
        rows += measure_cache(case, engine, run, batches, parity)
    if "memory" in parts:
        for batch in batches:
            rows += measure_memory(case, engine, run, batch, parity)
    return rows


def _verified(case: Case, engine: Engine) -> Parity:
    """Replay the known answers.

    Raises:
        ParityError: a check failed: nothing of this case is timed.
    """
    report = engine.verify()
    if not report.passed:
        raise ParityError(f"{case.name}: {'; '.join(report.failures)}")
    return Parity(
        report.passed, report.max_abs_nats, report.limit_nats, report.near_ties, report.unexplained
    )


def measure_decode(case: Case, engine: Engine, run: Run, batch: int, verified: Parity) -> list[Row]:
    """Steps and prefill beside the baseline's."""
    cell = decode.interleaved(case, engine, batch, run.threads, run.rounds)
    parity = replace(verified, sample_nats=cell.sample_nats, baseline_nats=cell.baseline_nats)
    ratio = paired_ratio(cell.decode, cell.plain_decode)
    faster = case.levels >= LARGE_VOCABULARY and batch >= 8
    row = run.row(
        case,
        "decode",
        "ms/step",
        batch,
        cell.decode,
        parity,
        baseline=PLAIN,
        baseline_rounds=cell.plain_decode,
        ratio=ratio,
    )
    row = replace(
        row,
        target="plain / ours > 1" if faster else f"plain / ours >= {LEAST_RATIO}",
        met=ratio > 1 if faster else ratio >= LEAST_RATIO,
        note=f"both drew the same values in {cell.equal_rows:.0%} of the rows",
    )
    rows = [run.append(row)]
    if cell.prefill:
        rows.append(
            run.append(
                run.row(
                    case,
                    "prefill",
                    "ms",
                    batch,
                    cell.prefill,
                    parity,
                    baseline=PLAIN,
                    baseline_rounds=cell.plain_prefill,
                    ratio=paired_ratio(cell.prefill, cell.plain_prefill),
                )
            )
        )
    return rows


def measure_cached(case: Case, engine: Engine, run: Run, batch: int, verified: Parity) -> Row:
    """Steps with their caches beside the whole network, which a loop without would run at each."""
    steps, whole, nats = decode.against_whole(case, engine, batch, run.rounds)
    ratio = paired_ratio(steps, whole)
    least = LEAST_TIMES_FASTER.get(batch) if case.published and len(case.event_shape) == 2 else None
    row = run.row(
        case,
        "decode",
        "ms/step",
        batch,
        steps,
        replace(verified, sample_nats=nats),
        baseline=WHOLE,
        baseline_rounds=whole,
        ratio=ratio,
    )
    row = replace(
        row,
        target=None if least is None else f"whole / step >= {least}",
        met=None if least is None else ratio >= least,
        note=f"published: {case.published}" if case.published else "",
    )
    return run.append(row)


def measure_host(case: Case, engine: Engine, run: Run, verified: Parity) -> Row:
    """The host's work between two steps, as a share of a step of one row."""
    given = decode.Given.of(case, 1)
    binding = engine.session("step").bind({"b": 1, "s": 1})
    passes = [decode.ours(engine, binding, given) for _ in range(decode.WARM_UPS + run.rounds)]
    steps = tuple(p.decode_s * 1e3 / given.decoded for p in passes[decode.WARM_UPS :])
    host = decode.host_between_steps(engine, run.rounds)
    share = float(np.median(host) / np.median(steps))
    parity = replace(verified, sample_nats=decode.distance(engine, passes[-1], 0))
    row = run.row(
        case,
        "host between steps",
        "ms/step",
        1,
        host,
        parity,
        baseline="step",
        baseline_rounds=steps,
        ratio=share,
    )
    row = replace(
        row,
        target=f"host / step < {HOST_SHARE}" if case.plain else None,
        met=share < HOST_SHARE if case.plain else None,
        note="an upper bound: the loop over a graph of copies with the same inputs and outputs",
    )
    return run.append(row)


def measure_cache(
    case: Case, engine: Engine, run: Run, batches: tuple[int, ...], verified: Parity
) -> list[Row]:
    """A step at the same positions with a cache 8 times longer."""
    longer = CASES[f"{case.name}-long"]
    long = Engine.load(bundle(longer), backend="onnxruntime", threads=run.threads)
    rows = []
    for batch in [b for b in longer.batches if b in batches]:
        own, extended, nats = decode.cache_lengths(engine, long, batch, run.rounds)
        slowdown = 1 / paired_ratio(extended, own)
        row = run.row(
            case,
            "cache 8 x longer",
            "ms/step",
            batch,
            extended,
            replace(verified, sample_nats=nats),
            baseline="own cache",
            baseline_rounds=own,
            ratio=slowdown,
        )
        row = replace(
            row, target=f"longer / own <= {CACHE_SLOWDOWN}", met=slowdown <= CACHE_SLOWDOWN
        )
        rows.append(run.append(row))
    return rows


def measure_memory(case: Case, engine: Engine, run: Run, batch: int, verified: Parity) -> list[Row]:
    """First load, later loads, and the peak while sampling, each in a process of its own."""
    first, later = memory.loads(engine.bundle.path, batch, case.prefix, run.threads, run.loads)
    nats = max(load.sample_nats for load in (first, *later))
    parity = replace(verified, sample_nats=nats)
    needed = memory.needed_mb(engine.bundle, batch)
    peaks = tuple(load.peak_mb for load in later)
    ratio = float(np.median(peaks) / needed)
    load_s = tuple(load.load_s - load.hashing_s for load in later)
    one = float(np.median(peaks))

    def row(quantity: str, unit: str, rounds: tuple[float, ...], warm_ups: int) -> Row:
        made = run.row(case, quantity, unit, batch, rounds, parity, warm_ups=warm_ups)
        return replace(made, peak_memory_mb=one)

    limit = case.levels >= LARGE_VOCABULARY
    rows = [
        replace(
            row("first load", "s", (first.load_s - first.hashing_s,), 0),
            peak_memory_mb=first.peak_mb,
            note=f"and {first.hashing_s:.2f} s of hashing; no cache folder before",
        ),
        replace(
            row("load", "s", load_s, 1),
            target=f"< {LOAD_SECONDS:g} s beside hashing" if limit else None,
            met=float(np.median(load_s)) < LOAD_SECONDS if limit else None,
        ),
        replace(
            row("peak memory", "MB", peaks, 1),
            ratio=ratio,
            target=f"<= {MEMORY_RATIO} times weights and caches" if limit else None,
            met=ratio <= MEMORY_RATIO if limit else None,
            note=f"weights and caches {needed:.0f} MB",
        ),
    ]
    return [run.append(row) for row in rows]


def main(words: list[str] | None = None) -> int:
    """Measure what the command line names; the exit status."""
    options = _options(words)
    run = Run(
        machine=this_machine(),
        commit=commit(),
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        load_average=round(os.getloadavg()[0], 2),
        threads=options.threads,
        rounds=options.rounds,
        loads=options.loads,
        results=options.results,
    )
    if run.load_average > run.machine.cores / 2:
        print(f"load average {run.load_average}: other programs run here", file=sys.stderr)
    rows: list[Row] = []
    try:
        for name in options.cases:
            case = CASES[name]
            batches = tuple(options.batch or case.batches)
            rows += measure(case, run, batches, tuple(options.only))
    except ParityError as error:
        print(error, file=sys.stderr)
        return 1
    missed = [f"{r.case} {r.quantity} batch {r.batch}" for r in rows if r.met is False]
    print(json.dumps({"rows": len(rows), "missed": missed}))
    return 0


def _options(words: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("cases", nargs="*", metavar="case", help=f"of {list(CASES)}; W1 W2")
    parser.add_argument("--batch", type=int, nargs="+", help="rows; those of the case by default")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--loads", type=int, default=3, help="processes that load, after the first")
    parser.add_argument("--threads", type=int, default=this_machine().cores)
    parser.add_argument("--results", type=Path, default=RESULTS)
    options = parser.parse_args(words)
    options.cases = options.cases or ["W1", "W2"]
    unknown = sorted(set(options.cases) - set(CASES))
    if unknown:
        parser.error(f"cases: expected some of {list(CASES)}, got {unknown}")
    if min(options.rounds, options.loads, options.threads, *(options.batch or [1])) < 1:
        parser.error("rounds, loads, threads and batch: expected numbers >= 1")
    return options


if __name__ == "__main__":
    sys.exit(main())
