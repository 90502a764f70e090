"""Processor time of an export with its verification, stage by stage: user and system, all threads.

    python -m benchmarks.export_cost W2 checkpoint     appends rows to results/CASE.jsonl
    python -m benchmarks.export_cost W2 --print        one JSON line, no row

Processor time, not seconds on a clock: other processes take cores away from it, not from its sum.
(They take caches and memory bandwidth: a busy machine shows up to half more.)
"""

import argparse
import json
import os
import tempfile
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path

from ancestral.engine.timing import in_process, memory_peak
from benchmarks.cases import CASES, Case
from benchmarks.checkpoint import CASE as CHECKPOINT
from benchmarks.machine import environment, this_machine
from benchmarks.parity import Parity
from benchmarks.recorder import Recorder
from benchmarks.rows import RESULTS, Bound, parsed

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
    marks = [("imports", 0.0)]

    def enter(stage: str) -> None:
        marks.append((stage, time.process_time()))

    from ancestral.engine import Engine
    from ancestral.export.bundle import export_bundle
    from benchmarks.cases import model

    enter("model")
    made = [model(case)]
    enter("copy")
    export_bundle(made.pop(), folder, own=True, progress=enter)
    reports = []
    for backend in BACKENDS:
        enter(f"verify on {backend}")
        reports.append(Engine.load(folder, backend=backend, threads=1).verify())
    enter("end")
    stages: dict[str, float] = {}
    for (stage, begin), (_, end) in pairwise(marks):
        stages[stage] = stages.get(stage, 0.0) + end - begin
    report = next((each for each in reports if not each.passed), reports[-1])
    return Cost(stages, memory_peak() / 1e6, Parity.of(report))


def append_rows(name: str, results: Path = RESULTS) -> None:
    """Measure a case in a process of its own, and append its rows."""
    case, most = MEASURED[name]
    words = ("benchmarks.export_cost", name, "--print")
    cost = parsed(Cost, in_process(name, *words, environment=environment(), quiet=False))
    threads = int(os.environ.get("OMP_NUM_THREADS", this_machine().cores))
    recorder = Recorder.begin(threads, results=results)
    add = partial(recorder.add, case, batch=1, parity=cost.parity, warm_ups=0)
    for stage, taken in cost.stages.items():
        add((f"export: {stage}", "CPU s"), rounds=(taken,))
    total = sum(cost.stages.values())
    add(
        ("export with verify", "CPU s"),
        rounds=(total,),
        bound=Bound("", "<", most, "CPU seconds"),
        ratio=total,
        peak_memory_mb=cost.peak_mb,
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
