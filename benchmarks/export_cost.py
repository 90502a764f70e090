"""Processor time of an export with its verification, stage by stage: user and system, all threads.

    python -m benchmarks.export_cost W2 checkpoint     appends rows to results/CASE.jsonl
    python -m benchmarks.export_cost W2 --print        one JSON line, no row

Processor time, not seconds on a clock: other processes take cores away from it, not from its sum.
(They take caches and memory bandwidth: a busy machine shows up to half more.)
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.cases import CASES, Case
from benchmarks.checkpoint import CASE as CHECKPOINT
from benchmarks.machine import this_machine
from benchmarks.rows import RESULTS, Parity, commit

MEASURED: Mapping[str, tuple[Case, float]] = {
    "W2": (CASES["W2"], 60.0),
    "checkpoint": (CHECKPOINT, 120.0),
    "tiny": (CASES["tiny"], 60.0),
}
"""Cases, and what all stages together may take, in seconds."""
BACKENDS = ("onnxruntime", "torch")


@dataclass(frozen=True, slots=True)
class Cost:
    """One export and its verification, in one process.

    Attributes:
        stages: seconds of each, in order.
        peak_mb: largest resident memory, in 10^6 bytes.
        parity: on the last backend, or on the first that failed.
    """

    stages: dict[str, float]
    peak_mb: float
    parity: Parity


def measure(case: Case, folder: Path) -> Cost:
    """Export and verify in this process, as `ancestral export` does."""
    begun = time.process_time()
    from ancestral.engine import Engine
    from ancestral.engine.measure import memory_peak
    from ancestral.export.bundle import export_bundle
    from benchmarks.cases import model

    stages = {"imports": begun}
    stage, since = "imports", begun

    def enter(name: str) -> None:
        nonlocal stage, since
        now = time.process_time()
        stages[stage] = stages.get(stage, 0.0) + now - since
        stage, since = name, now

    enter("model")
    made = [model(case)]
    enter("copy")
    export_bundle(made.pop(), folder, own=True, progress=enter)
    reports = []
    for backend in BACKENDS:
        enter(f"verify on {backend}")
        reports.append(Engine.load(folder, backend=backend, threads=1).verify())
    enter("end")
    report = next((each for each in reports if not each.passed), reports[-1])
    parity = Parity(
        report.passed,
        report.max_abs_nats,
        report.limit_nats,
        report.near_ties,
        report.unexplained,
    )
    return Cost(stages, memory_peak() / 1e6, parity)


def append_rows(name: str, results: Path = RESULTS) -> None:
    """Measure a case in a process of its own, and append its rows."""
    from benchmarks.run import Run

    case, most = MEASURED[name]
    words = [sys.executable, "-m", "benchmarks.export_cost", name, "--print"]
    done = subprocess.run(words, cwd=RESULTS.parent.parent, stdout=subprocess.PIPE, check=True)
    values = json.loads(done.stdout.splitlines()[-1])
    parity = Parity(**values["parity"])
    run = Run(
        machine=this_machine(),
        commit=commit(),
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        load_average=round(os.getloadavg()[0], 2),
        threads=int(os.environ.get("OMP_NUM_THREADS", this_machine().cores)),
        rounds=1,
        loads=1,
        results=results,
    )
    for stage, seconds in values["stages"].items():
        run.append(run.row(case, f"export: {stage}", "CPU s", 1, (seconds,), parity, warm_ups=0))
    total = sum(values["stages"].values())
    row = run.row(case, "export with verify", "CPU s", 1, (total,), parity, warm_ups=0)
    run.append(
        replace(
            row,
            ratio=total,
            target=f"< {most:g} CPU seconds",
            met=total < most,
            peak_memory_mb=values["peak_mb"],
        )
    )


def main() -> None:
    """Measure, or be the process that is measured."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("cases", nargs="+", choices=MEASURED)
    parser.add_argument("--print", action="store_true", help="measure in this process, no row")
    options = parser.parse_args()
    for name in options.cases:
        if not options.print:
            append_rows(name)
            continue
        with tempfile.TemporaryDirectory() as work:
            cost = measure(MEASURED[name][0], Path(work) / "bundle")
        print(json.dumps(asdict(cost)))


if __name__ == "__main__":
    main()
