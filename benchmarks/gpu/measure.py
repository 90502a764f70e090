"""Measure a part in its own process, so that a crash does not affect the other parts.

    python -m benchmarks.gpu.measure ceilings --records FILE --seconds 20 --bundles DIR

`python -m benchmarks.gpu` starts it. Results go to the records, one line of JSON each, and as
sentences to the standard output; tracebacks and compiler messages go to the standard error.
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
    """Yield the results of all cells; a speed without parity becomes a failure.

    An error in a cell does not affect the next cells.
    """
    for cell in cells:
        what = f"{bench.part}, {cell.name}"
        if bench.left <= 0:
            yield Skipped(what, "the time is over")
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
                why = "the GPU's context is broken; the remaining cells are not measured"
                yield Failed(bench.part, why)
                return
        if bench.device.type == "cuda":
            gc.collect()
            torch.cuda.empty_cache()


def usable(device: torch.device) -> bool:
    """Return whether the device still works; some errors break it for the process."""
    if device.type == "cpu":
        return True
    try:
        torch.cuda.synchronize()
    except RuntimeError:
        traceback.print_exc()
        return False
    return True


def main() -> None:
    """Measure the part on the command line."""
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
