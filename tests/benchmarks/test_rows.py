"""Rows are read as they were written; a run without parity writes none."""

import json
import math
import platform
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from ancestral.errors import ParityError
from benchmarks.machine import this_machine
from benchmarks.rows import CaseRow, append, read

from .sample_rows import PARITY, sample_row


def test_row_is_read_as_it_was_written(tmp_path: Path) -> None:
    rows = [sample_row(), sample_row(batch=8, ratio=None, peak_memory_mb=1.5, note="a | b")]
    for row in rows:
        append(row, tmp_path / "tiny.jsonl")
    assert read(CaseRow, tmp_path / "tiny.jsonl") == rows


def test_ratio_is_the_median_of_paired_rounds() -> None:
    row = sample_row()
    assert (row.p50, row.ratio) == (3.0, 1.5)


def test_a_line_of_another_kind_is_refused(tmp_path: Path) -> None:
    values = asdict(sample_row())
    del values["parity"]
    (tmp_path / "tiny.jsonl").write_text(json.dumps(values) + "\n")
    with pytest.raises(ValueError, match="expected the fields"):
        read(CaseRow, tmp_path / "tiny.jsonl")


@pytest.mark.parametrize(
    "fault",
    [
        {"verified": False},
        {"max_abs_nats": 2e-4},
        {"max_abs_nats": math.nan},
        {"sample_nats": 2e-4},
        {"baseline_nats": math.nan},
        {"unexplained": 1},
    ],
    ids=str,
)
def test_no_speed_without_parity(fault: dict[str, object], tmp_path: Path) -> None:
    with pytest.raises(ParityError, match="no row is written"):
        append(sample_row(parity=replace(PARITY, **fault)), tmp_path / "tiny.jsonl")
    assert list(tmp_path.iterdir()) == []


def test_a_round_that_is_not_finite_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="finite"):
        append(sample_row(rounds=(1.0, math.inf)), tmp_path / "tiny.jsonl")


def test_machine_is_described_without_its_name() -> None:
    machine = this_machine()
    assert machine.processor
    assert machine.cores >= 1
    assert machine.memory_gb > 0.1
    assert {"python", "numpy"} <= set(machine.versions)
    assert platform.node() == "" or platform.node() not in json.dumps(asdict(machine))
