"""Rows of a simulated GPU run, for the tests of the code around the measurement."""

import time
from pathlib import Path
from typing import Any

import torch

from benchmarks.gpu.part import OURS, Bench, Work
from benchmarks.gpu.rows import GpuRow
from benchmarks.machine import Machine
from benchmarks.parity import Parity

EXACT = Parity(reference="PyTorch in float64", relative=1e-7, limit_relative=4e-6)
MACHINE = Machine(
    processor="Some CPU",
    cores=2,
    instructions=("avx2",),
    memory_gb=1.5,
    gpu="Some GPU",
    system="Linux x86_64",
    versions={
        "driver": "1.2",
        "cuda": "13.0",
        "torch": "2.11.0",
        "triton": "3.6.0",
        "python": "3.12.3",
    },
)
CEILINGS = {"copy": 4e12, "float32": 5e13, "bfloat16": 8e14}


def rehearsing(folder: Path, part: str = "linear") -> Bench:
    """Return the bench of a rehearsal on the CPU."""
    until = time.monotonic() + 1000
    device, bundles = torch.device("cpu"), folder / "bundles"
    return Bench(part, device, CEILINGS, until, bundles, MACHINE, "c0ffee")


def sample_row(
    bench: Bench, parity: Parity = EXACT, *, unpaired: bool = False, **settings: Any
) -> GpuRow:
    """Return a row: ours takes 2 ms, theirs 3 ms, with 4 GB to read; no baseline if `unpaired`."""
    rounds = {OURS: (2.0, 4.0, 2.0)} | ({} if unpaired else {"theirs": (3.0, 6.0, 3.0)})
    settings = {"work": Work(4e9, 1e9, torch.float32)} | settings
    return next(bench.rows("2 x 2", torch.float32, rounds, parity, **settings))
