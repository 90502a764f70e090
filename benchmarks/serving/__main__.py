"""Measure `ancestral serve` with requests that arrive at random.

    python -m benchmarks.serving                          1,000 requests at each rate: some minutes
    python -m benchmarks.serving --requests 60            a rehearsal

First `Engine.stream` draws the workload in process, with one thread on one core, which gives the
capacity. Then the server runs on that core and the client on another one, at 80% and at 150% of the
capacity, or at each `--load`. Exit status 1: the server did not keep the probabilities, and no row
was written.
"""

import argparse
import asyncio
import json
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ancestral.engine import AutoregressiveEngine
from ancestral.engine.comparison import Draws
from ancestral.errors import ParityError
from benchmarks.arrivals import runs
from benchmarks.arrivals.agreement import near_tie
from benchmarks.arrivals.runs import Drawn
from benchmarks.arrivals.workload import Workload
from benchmarks.cases import CASES, bundle
from benchmarks.parity import Parity
from benchmarks.recorder import Recorder
from benchmarks.rows import RESULTS, append, timed
from benchmarks.run import Subject
from benchmarks.serving.client import Heard, arriving, body_of, complete
from benchmarks.serving.process import Running, on_core, serving
from benchmarks.serving.rows import FILE, ServingRow, line

LOADS = (0.8, 1.5)
SHARE = 0.9
"""Least values per second over those of the stream, where there are always requests."""
COMPARED = 16
"""Requests whose log-probabilities are compared."""


def own_seeds(workload: Workload) -> Workload:
    """Return a workload whose request i has a seed of its own and index 0, as an HTTP request."""
    requests = (
        replace(request, seed=request.seed + i, index=0)
        for i, request in enumerate(workload.requests)
    )
    return replace(workload, requests=tuple(requests))


def checked(
    engine: AutoregressiveEngine,
    parity: Parity,
    workload: Workload,
    drawn: tuple[Drawn, ...],
    heard: list[Heard],
) -> Parity:
    """Return a parity to which the comparison of answers with the stream is added.

    Log p must be equal within the limit up to a near tie, where the draws may part.
    """
    draws, worst = Draws(), parity.sample_nats or 0.0
    limit = parity.limit_nats or 0.0
    for request, expected, got in zip(workload.requests, drawn, heard, strict=False):
        log_p = np.array(got.log_p)
        if len(log_p) != len(expected.log_p):
            draws += Draws(len(log_p), 0, 1)
            continue
        far = np.flatnonzero(np.abs(log_p - expected.log_p) > limit)
        same = int(far[0]) if len(far) else len(log_p)
        worst = max(worst, abs(float((log_p[:same] - expected.log_p[:same]).sum())))
        near = bool(len(far)) and near_tie(engine, request, expected, same)
        draws += Draws(same, int(near), int(bool(len(far)) and not near))
    return replace(
        parity,
        near_ties=parity.near_ties + draws.near_ties,
        unexplained=parity.unexplained + draws.unexplained,
        sample_nats=worst,
    )


def compared(url: str, model: str, workload: Workload) -> list[Heard]:
    """Return the answers to the first requests, with log-probabilities."""

    async def each() -> list[Heard]:
        return [
            await complete(url, body_of(model, request, logprobs=True), 0.0)
            for request in workload.requests[:COMPARED]
        ]

    return asyncio.run(each())


def measured(
    running: Running, bodies: list[dict[str, Any]], arrivals: np.ndarray
) -> dict[str, Any]:
    """Run a workload at a rate, and return fields of its row."""
    before = running.resident_mb
    heard, seconds = asyncio.run(arriving(running.url, bodies, arrivals))
    done = [each for each in heard if each.complete]
    first = np.array([each.times[0] for each in done])
    gaps = [
        np.diff(each.times) * (len(each.times) - 1) / max(1, each.values - 1)
        for each in done
        if len(each.times) > 1
    ]
    until = float(arrivals[-1])
    values = 0.0
    for each, at in zip(heard, arrivals, strict=True):
        if each.complete:
            times = np.array(each.times) + at
            values += each.values * float((times <= until).mean())
    return {
        **timed((seconds,)),
        "answered": len(done),
        "refused": sum(each.status == 429 for each in heard),
        "errors": sum(each.status != 429 and not each.complete for each in heard),
        "values_per_second": values / until,
        "first_value": _percentiles(first),
        "between_values": _percentiles(np.concatenate([*gaps, np.zeros(0)])),
        "resident_mb": (before, running.resident_mb),
    }


def _percentiles(seconds: np.ndarray) -> tuple[float, float]:
    """Return the 50th and 95th percentile of some seconds, in ms; 0 if there are none."""
    p50, p95 = np.percentile(seconds, (50, 95)) * 1e3 if len(seconds) else (0.0, 0.0)
    return float(p50), float(p95)


def measure(options: argparse.Namespace) -> list[ServingRow]:
    """Measure the case at each load, and return its rows.

    Raises:
        ParityError: the server did not keep the probabilities.
    """
    core, *others = sorted(os.sched_getaffinity(0))
    recorder = Recorder.begin(1, 1, options.results)
    case = CASES[options.case]
    with on_core(core):
        subject = Subject.load(case, recorder)
        engine = subject.engine
        assert isinstance(engine, AutoregressiveEngine)
        workload = own_seeds(Workload.draw(engine.data, options.requests, options.seed))
        runs.at_once(engine, Workload.draw(engine.data, options.slots, 1), options.slots)
        run = runs.at_once(engine, workload, options.slots)
    until, values, _ = run.trace.saturated()
    capacity, stream = run.trace.capacity, values / until
    rows: list[ServingRow] = []
    folder = bundle(case)
    bodies = [body_of(folder.name, request) for request in workload.requests]
    server = serving(folder, core, options.slots, options.queue)
    with server as running, on_core(others[0] if others else core):
        heard = compared(running.url, folder.name, workload)
        parity = checked(engine, subject.parity, workload, run.drawn, heard)
        for load in options.load or LOADS:
            rate = load * capacity
            fields = measured(running, bodies, workload.arrivals(rate))
            target, met = None, None
            if load > 1 and rows:
                longest = options.queue / capacity * 1e3 + rows[0].first_value[1]
                target = f">= {SHARE}, first value p95 <= {longest:.0f} ms"
                met = (
                    fields["values_per_second"] >= SHARE * stream
                    and fields["first_value"][1] <= longest
                )
            elif load <= 1:
                target, met = "no errors", fields["errors"] == fields["refused"] == 0
            row = ServingRow(
                case=case.name,
                unit="s",
                **fields,
                parity=parity,
                machine=recorder.machine,
                commit=recorder.commit,
                date=recorder.date,
                load=load,
                rate=rate,
                slots=options.slots,
                queue=options.queue,
                requests=options.requests,
                seed=options.seed,
                load_average=recorder.load_average,
                stream_values_per_second=stream,
                target=target,
                met=met,
            )
            append(row, recorder.results / FILE)
            print(line(row), flush=True)
            rows.append(row)
    return rows


def main(words: list[str] | None = None) -> int:
    """Measure the case on the command line, and return the exit status."""
    options = _options(words)
    try:
        rows = measure(options)
    except ParityError as error:
        print(error, file=sys.stderr)
        return 1
    print(json.dumps({"rows": len(rows), "missed": [r.title for r in rows if r.met is False]}))
    return 0


def _options(words: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benchmarks.serving", description=__doc__.splitlines()[0])
    texts = [name for name, case in CASES.items() if case.tokenizer is not None]
    parser.add_argument("--case", choices=texts, default="served", metavar="case")
    parser.add_argument("--slots", type=int, default=16)
    parser.add_argument("--queue", type=int, default=32, help="requests that may wait")
    parser.add_argument("--requests", type=int, default=1000, help="more than there are slots")
    parser.add_argument("--load", type=float, nargs="+", help="shares of the capacity")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--results", type=Path, default=RESULTS)
    options = parser.parse_args(words)
    if min(options.slots, options.queue) < 1:
        parser.error("--slots, --queue: expected numbers of at least 1")
    if options.seed < 0:
        parser.error(f"--seed: expected a number of at least 0, got {options.seed}")
    if options.requests <= options.slots:
        parser.error(f"--requests: expected more than {options.slots}, got {options.requests}")
    for load in options.load or []:
        if not 0 < load < 100:
            parser.error(f"--load: expected positive numbers below 100, got {load}")
    return options


if __name__ == "__main__":
    sys.exit(main())
