"""CPU time of an export and its verification, stage by stage: user and system, all threads.

    python -m benchmarks.export_cost W2 checkpoint      append rows to results/CASE.jsonl
    python -m benchmarks.export_cost W2 --print DIR     print one JSON line, append no row

Unlike wall-clock time, CPU time does not change when other processes take cores away. They also
take caches and memory bandwidth: on a busy machine the CPU time is up to half more.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path

from ancestral.engine.timing import in_process, memory_now, memory_peak, seconds
from benchmarks.cases import CASES, GPT2, Case
from benchmarks.machine import environment, this_machine
from benchmarks.parity import Parity
from benchmarks.recorder import Recorder
from benchmarks.rows import RESULTS, Bound, parsed

CHECKPOINT = Case(
    "checkpoint",
    "GPT-2 small's shape with its full context: 1,024 positions, 960 of them given",
    GPT2 | {"start": None},
    event_shape=(1024,),
    levels=50_257,
    prefix=960,
    batches=(1, 8),
    plain=True,
)
MEASURED: Mapping[str, tuple[Case, float]] = {
    "W2": (CASES["W2"], 60.0),
    "checkpoint": (CHECKPOINT, 120.0),
    "tiny": (CASES["tiny"], 60.0),
}
"""The cases, and the limit of CPU seconds for all their stages together."""
BACKENDS = ("onnxruntime", "torch")


@dataclass(frozen=True, slots=True)
class Cost:
    """One export and its verification, in one process.

    Attributes:
        stages: CPU seconds of each stage, in order.
        seconds: wall-clock seconds of the export.
        size_mb: size of the model, in 10^6 bytes.
        imports_mb: resident memory before the model is made.
        export_peak_mb: peak resident memory until the export ends.
        peak_mb: peak resident memory until the verification ends.
        parity: parity on the last backend, or on the first that failed.
    """

    stages: dict[str, float]
    seconds: float
    size_mb: float
    imports_mb: float
    export_peak_mb: float
    peak_mb: float
    parity: Parity


def measure(case: Case, folder: Path) -> Cost:
    """Export and verify in this process, as `ancestral export` does.

    Nothing that needs much memory may have run in this process before.
    """
    marks = [("imports", 0.0)]

    def enter(stage: str) -> None:
        print(f"{case.name}: {stage}", file=sys.stderr)
        marks.append((stage, time.process_time()))

    from ancestral.engine import Engine
    from ancestral.export.bundle import export_bundle
    from benchmarks.cases import model

    enter("model")
    imports = memory_now()
    made = [model(case)]
    size = sum(p.numel() * p.element_size() for p in made[0].parameters())
    enter("copy")
    taken = seconds(lambda: export_bundle(made.pop(), folder, own=True, progress=enter))
    peak, reports = memory_peak(), []
    for backend in BACKENDS:
        enter(f"verify on {backend}")
        reports.append(Engine.load(folder, backend=backend, threads=1).verify())
    enter("end")
    stages: dict[str, float] = {}
    for (stage, begin), (_, end) in pairwise(marks):
        stages[stage] = stages.get(stage, 0.0) + end - begin
    report = next((each for each in reports if not each.passed), reports[-1])
    memory = (each / 1e6 for each in (size, imports, peak, memory_peak()))
    return Cost(stages, taken, *memory, Parity.of(report))


def measured(name: str, folder: Path) -> Cost:
    """Measure a case in its own process, which writes a bundle of that name to the folder."""
    words = ("benchmarks.export_cost", name, "--print", str(folder))
    return parsed(Cost, in_process(name, *words, environment=environment(), quiet=False))


def append_rows(name: str, results: Path = RESULTS) -> None:
    """Measure a case in its own process, and append its rows."""
    case, most = MEASURED[name]
    with tempfile.TemporaryDirectory() as work:
        cost = measured(name, Path(work))
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
    """Measure the cases or, with --print, be the process that is measured."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("cases", nargs="+", choices=MEASURED)
    about = "measure in this process, write the bundles to this folder, append no row"
    parser.add_argument("--print", type=Path, metavar="FOLDER", help=about)
    options = parser.parse_args()
    for name in options.cases:
        if options.print is None:
            append_rows(name)
        else:
            print(json.dumps(asdict(measure(MEASURED[name][0], options.print / name))))


if __name__ == "__main__":
    main()
