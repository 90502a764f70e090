"""Measure a part, in a process of its own: what breaks it leaves the others whole.

    python -m benchmarks.gpu.measure ceilings --records FILE --seconds 20 --bundles DIR

Started by `python -m benchmarks.gpu`. What it finds goes to the records, a line of JSON each; what
it says in a sentence to the standard output; tracebacks and the words of compilers to the standard
error.
"""

import argparse
import gc
import importlib
import json
import time
import traceback
from collections.abc import Iterable, Iterator
from pathlib import Path

import torch

from benchmarks.gpu.part import PARTS, Bench, Cell, sentence
from benchmarks.gpu.rows import Failed, GpuRow, Result, Skipped, record


def results(cells: Iterable[Cell], bench: Bench) -> Iterator[Result]:
    """Yield the results of all cells in turn; a speed without parity becomes a failure.

    What a cell breaks of itself leaves the next ones whole.
    """
    for cell in cells:
        what = f"{bench.part}, {cell.name}"
        if bench.left <= 0:
            yield Skipped(what, "time")
            continue
        try:
            for result in cell.measure(bench):
                if isinstance(result, GpuRow) and result.parity.failures:
                    yield Failed(result.title, "; ".join(result.parity.failures))
                else:
                    yield result
        except Exception as error:  # noqa: BLE001 - one broken cell is one line
            traceback.print_exc()
            yield Failed(what, sentence(error))
            if not usable(bench.device):
                why = "the GPU's context is broken: what was left is not measured"
                yield Failed(bench.part, why)
                return
        if bench.device.type == "cuda":
            gc.collect()
            torch.cuda.empty_cache()


def usable(device: torch.device) -> bool:
    """Whether the device still answers: after some errors a process has lost it."""
    if device.type == "cpu":
        return True
    try:
        torch.cuda.synchronize()
    except RuntimeError:
        traceback.print_exc()
        return False
    return True


def main() -> None:
    """Measure a part."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("part", choices=PARTS)
    parser.add_argument("--records", type=Path, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--bundles", type=Path, required=True)
    parser.add_argument("--ceilings", type=json.loads, default={})
    parser.add_argument("--rehearse", action="store_true")
    options = parser.parse_args()
    until = time.monotonic() + options.seconds
    device = torch.device("cpu" if options.rehearse else "cuda:0")
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    bench = Bench(options.part, device, options.ceilings, until, options.bundles)
    cells = importlib.import_module(f"benchmarks.gpu.{options.part}").cells(bench)
    with options.records.open("a") as records, torch.no_grad():
        for result in results(cells, bench):
            records.write(record(result) + "\n")
            records.flush()
            print(result, flush=True)


if __name__ == "__main__":
    main()
