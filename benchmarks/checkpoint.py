"""Memory and time of an export, and of sampling from the exported bundle, at GPT-2 small's shape.

    python -m benchmarks.checkpoint     append rows to results/checkpoint.jsonl

The export owns its model. Its peak memory is reported both in total and minus the memory of a
process that only imports.
"""

import argparse
import tempfile
from functools import partial
from pathlib import Path

from benchmarks import memory
from benchmarks.export_cost import CHECKPOINT, measured
from benchmarks.machine import this_machine
from benchmarks.recorder import Recorder
from benchmarks.rows import Bound

MOST = Bound("", "<=", 2.2, "times the model, less imports")


def rows(threads: int) -> None:
    """Export, verify and sample, with rows for each."""
    with tempfile.TemporaryDirectory() as work:
        cost, path = measured("checkpoint", Path(work)), Path(work) / "checkpoint"
        parity, peak = cost.parity, cost.export_peak_mb
        recorder, own = Recorder.begin(threads), peak - cost.imports_mb
        add = partial(recorder.add, CHECKPOINT, batch=1, parity=parity, warm_ups=0)
        add(
            ("export peak", "MB"),
            rounds=(peak,),
            bound=MOST,
            ratio=own / cost.size_mb,
            peak_memory_mb=own,
            note=f"model {cost.size_mb:.0f} MB, imports {cost.imports_mb:.0f} MB; "
            f"{peak / cost.size_mb:.2f} times the model in all",
        )
        add(("export", "s"), rounds=(cost.seconds,))
        for batch in CHECKPOINT.batches:
            memory.measured(CHECKPOINT, path, recorder, batch, parity, loads=1)


def main() -> None:
    """Append the rows."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=this_machine().cores)
    rows(parser.parse_args().threads)


if __name__ == "__main__":
    main()
