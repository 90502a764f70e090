"""A row as a run writes it, for tests that do not need a run."""

from dataclasses import replace
from typing import Any

from benchmarks.machine import this_machine
from benchmarks.parity import Parity
from benchmarks.rows import CaseRow, timed

PARITY = Parity(
    verified=True,
    max_abs_nats=1e-6,
    limit_nats=1e-4,
    near_ties=0,
    unexplained=0,
    sample_nats=2e-6,
    baseline_nats=3e-6,
)


def sample_row(**changes: Any) -> CaseRow:
    """Return a row whose fields are replaced by `changes`."""
    rounds, baseline = (2.0, 4.0, 3.0), (4.0, 6.0, 3.0)
    row = CaseRow(
        case="tiny",
        quantity="decode",
        unit="ms/step",
        batch=1,
        threads=2,
        **timed(rounds, ("plain loop", baseline)),
        warm_ups=1,
        target="plain / ours >= 0.95",
        met=True,
        peak_memory_mb=None,
        parity=PARITY,
        machine=this_machine(),
        commit="0123456789ab",
        date="2026-01-02T03:04:05+00:00",
        load_average=0.1,
    )
    return replace(row, **changes)
