"""Memory and time of an export, and of sampling what it exported, at GPT-2 small's shape.

    python -m benchmarks.checkpoint                     appends rows to results/checkpoint.jsonl
    python -m benchmarks.checkpoint --export FOLDER     one export in this process, a JSON line

An export is handed its model. Its peak is told twice: less what a process holds that only imports,
and in all.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from benchmarks.cases import CASES, Case
from benchmarks.machine import this_machine
from benchmarks.rows import RESULTS, Parity, commit

if TYPE_CHECKING:
    from ancestral.engine import AutoregressiveEngine

CASE = Case(
    name="checkpoint",
    about="GPT-2 small's shape with its whole context: 1,024 positions; 960 are given",
    config=MappingProxyType({**CASES["W1"].config, "start": None}),
    event_shape=(1024,),
    levels=50_257,
    prefix=960,
    batches=(1, 8),
)
MOST = 2.2
"""Times the size of the model."""


@dataclass(frozen=True, slots=True)
class Export:
    """One export.

    Attributes:
        size_mb: of the model, in 10^6 bytes.
        imports_mb: resident memory before there is a model.
        peak_mb: largest resident memory.
        seconds: that it took.
    """

    size_mb: float
    imports_mb: float
    peak_mb: float
    seconds: float


def export(folder: Path) -> Export:
    """Export the model in this process; nothing that needs memory may have run in it before."""
    from ancestral.engine.measure import memory_now, memory_peak
    from ancestral.export.bundle import export_bundle
    from benchmarks.cases import model

    imports = memory_now()
    made = [model(CASE)]
    size = sum(p.numel() * p.element_size() for p in made[0].parameters())
    begin = time.perf_counter()
    export_bundle(made.pop(), folder, own=True, progress=lambda line: print(line, file=sys.stderr))
    seconds = time.perf_counter() - begin
    return Export(size / 1e6, imports / 1e6, memory_peak() / 1e6, seconds)


def _measured(folder: Path) -> Export:
    command = [sys.executable, "-m", "benchmarks.checkpoint", "--export", str(folder)]
    done = subprocess.run(command, cwd=RESULTS.parent.parent, stdout=subprocess.PIPE, check=True)
    return Export(**json.loads(done.stdout.splitlines()[-1]))


def rows(threads: int) -> None:
    """Export, verify, sample; rows of each."""
    from ancestral.engine import Engine
    from benchmarks.run import Run, measure_memory

    with tempfile.TemporaryDirectory() as work:
        found = _measured(Path(work) / "bundle")
        engine: AutoregressiveEngine = Engine.load(Path(work) / "bundle", threads=threads)
        report = engine.verify()
        parity = Parity(
            report.passed,
            report.max_abs_nats,
            report.limit_nats,
            report.near_ties,
            report.unexplained,
        )
        run = Run(
            machine=this_machine(),
            commit=commit(),
            date=datetime.now(UTC).isoformat(timespec="seconds"),
            load_average=round(os.getloadavg()[0], 2),
            threads=threads,
            rounds=1,
            loads=1,
            results=RESULTS,
        )
        ratio = (found.peak_mb - found.imports_mb) / found.size_mb
        row = run.row(CASE, "export peak", "MB", 1, (found.peak_mb,), parity, warm_ups=0)
        row = replace(
            row,
            ratio=ratio,
            target=f"<= {MOST} times the model, less imports",
            met=ratio <= MOST,
            peak_memory_mb=found.peak_mb - found.imports_mb,
            note=f"model {found.size_mb:.0f} MB, imports {found.imports_mb:.0f} MB; "
            f"{found.peak_mb / found.size_mb:.2f} times the model in all",
        )
        run.append(row)
        run.append(run.row(CASE, "export", "s", 1, (found.seconds,), parity, warm_ups=0))
        for batch in CASE.batches:
            measure_memory(CASE, engine, run, batch, parity)


def main() -> None:
    """Measure, or be the process that is measured."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--export", type=Path, help="export to this folder, and print the figures")
    parser.add_argument("--threads", type=int, default=this_machine().cores)
    options = parser.parse_args()
    if options.export is not None:
        print(json.dumps(asdict(export(options.export))))
        return
    rows(options.threads)


if __name__ == "__main__":
    main()
