"""Memory and time of an export, and of sampling what it exported, at GPT-2 small's shape.

    python -m benchmarks.checkpoint                     appends rows to results/checkpoint.jsonl
    python -m benchmarks.checkpoint --export FOLDER     one export in this process, a JSON line

An export is handed its model. Its peak is told twice: less what a process holds that only imports,
and in all.
"""

import argparse
import json
import sys
import tempfile
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

from ancestral.engine.timing import in_process, memory_now, memory_peak, seconds
from benchmarks import memory
from benchmarks.cases import GPT2, Case
from benchmarks.machine import environment, this_machine
from benchmarks.parity import Parity
from benchmarks.recorder import Recorder
from benchmarks.rows import Bound

CASE = Case(
    "checkpoint",
    "GPT-2 small's shape with its whole context: 1,024 positions; 960 are given",
    GPT2 | {"start": None},
    event_shape=(1024,),
    levels=50_257,
    prefix=960,
    batches=(1, 8),
    plain=True,
)
MOST = Bound("", "<=", 2.2, "times the model, less imports")


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
    from ancestral.export.bundle import export_bundle
    from benchmarks.cases import model

    imports = memory_now()
    made = [model(CASE)]
    size = sum(p.numel() * p.element_size() for p in made[0].parameters())
    told = partial(print, file=sys.stderr)
    taken = seconds(lambda: export_bundle(made.pop(), folder, own=True, progress=told))
    return Export(size / 1e6, imports / 1e6, memory_peak() / 1e6, taken)


def rows(threads: int) -> None:
    """Export, verify, sample; rows of each."""
    from ancestral.engine import Engine

    with tempfile.TemporaryDirectory() as work:
        path = Path(work) / "bundle"
        words = ("benchmarks.checkpoint", "--export", str(path))
        found = Export(**in_process("an export", *words, environment=environment(), quiet=False))
        parity = Parity.of(Engine.load(path, threads=threads).verify())
        recorder, own = Recorder.begin(threads), found.peak_mb - found.imports_mb
        add = partial(recorder.add, CASE, batch=1, parity=parity, warm_ups=0)
        add(
            ("export peak", "MB"),
            rounds=(found.peak_mb,),
            bound=MOST,
            ratio=own / found.size_mb,
            peak_memory_mb=own,
            note=f"model {found.size_mb:.0f} MB, imports {found.imports_mb:.0f} MB; "
            f"{found.peak_mb / found.size_mb:.2f} times the model in all",
        )
        add(("export", "s"), rounds=(found.seconds,))
        for batch in CASE.batches:
            memory.measured(CASE, path, recorder, batch, parity, loads=1)


def main() -> None:
    """Measure, or be the process that is measured."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--export", type=Path, help="export to this folder, and print the figures")
    parser.add_argument("--threads", type=int, default=this_machine().cores)
    options = parser.parse_args()
    if options.export is None:
        rows(options.threads)
    else:
        print(json.dumps(asdict(export(options.export))))


if __name__ == "__main__":
    main()
