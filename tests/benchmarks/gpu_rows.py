"""A run on a GPU that is not there, for the tests of what surrounds it."""

import time
from pathlib import Path
from typing import Any

import torch

from benchmarks.gpu.floor import Work
from benchmarks.gpu.found import Found
from benchmarks.gpu.part import Bench
from benchmarks.gpu.rows import Parity, Row

EXACT = Parity("PyTorch in float64", 1e-7, 4e-6, "relative")
MACHINE = Found("Some GPU", "1.2", "13.0", "2.11.0", "3.6.0", "3.12.3")
CEILINGS = {"copy": 4e12, "float32": 5e13, "bfloat16": 8e14}


def rehearsing(folder: Path) -> Bench:
    """Of a rehearsal."""
    until = time.monotonic() + 1000
    return Bench(torch.device("cpu"), MACHINE, CEILINGS, until, folder / "bundles", "c0ffee")


def sample_row(bench: Bench, parity: Parity = EXACT, **settings: Any) -> Row:
    """Ours 2 ms, theirs 3 ms, 4 GB to read."""
    work = Work(4e9, 1e9, torch.float32)
    settings = {"baseline": ("theirs", (3.0, 6.0, 3.0)), "work": work} | settings
    return bench.row(("linear", "2 x 2"), torch.float32, (2.0, 4.0, 2.0), parity, **settings)
