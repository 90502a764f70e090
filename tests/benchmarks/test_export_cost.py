"""Rows of the cost of an export: one for each stage, and their sum."""

from pathlib import Path

import pytest

from benchmarks.export_cost import BACKENDS, append_rows
from benchmarks.rows import CaseRow, read


@pytest.mark.slow
def test_rows(tmp_path: Path) -> None:
    append_rows("tiny", tmp_path)
    *stages, whole = read(CaseRow, tmp_path / "tiny.jsonl")
    assert all(row.unit == "CPU s" and row.parity.verified for row in stages)
    names = [row.quantity for row in stages]
    assert [f"export: verify on {backend}" for backend in BACKENDS] == names[-2:]
    assert {"export: causality", "export: known answers"} < set(names)
    assert whole.p50 == pytest.approx(sum(row.p50 for row in stages))
    assert whole.met is (whole.p50 < 60)
