"""The benchmark of bulk jobs: a run with toys, its rows and its table, and a planted fault."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from ancestral.bulk.draws import EventDraws
from benchmarks import report
from benchmarks.bulk import __main__ as bulk
from benchmarks.rows import CaseRow, read

Words = list[str]


@pytest.fixture
def words(bundles: Callable[..., Path], tmp_path: Path) -> Words:
    """Return the words of a rehearsal."""
    toys = ("--bundle", str(bundles("tiny")), "--table", str(bundles("table")))
    small = ("--rows", "300", "--rounds", "2", "--sizes", "300", "9000")
    return [*toys, *small, "--results", str(tmp_path)]


def test_a_run_appends_rows(
    words: Words, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert bulk.main(words) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["rows"] == 4
    samples, scores = read(CaseRow, tmp_path / "bulk-digits.jsonl")
    for row, baseline in ((samples, "Engine.sample"), (scores, "Engine.log_prob")):
        assert row.baseline == baseline
        assert len(row.rounds) == len(row.baseline_rounds) == 2
        assert row.target is not None
        assert row.parity.verified
    assert (samples.batch, samples.parity.sample_nats) == (256, 0.0)
    small, large = read(CaseRow, tmp_path / "bulk-table.jsonl")
    assert small.p50 > 1
    assert large.ratio == large.p50 / small.p50
    page = tmp_path / "page.md"
    page.write_text(f"{report.BEGIN}\n{report.END}\n")
    assert report.main([str(page), "--results", str(tmp_path)]) == 0
    assert "| 300 samples | 256 |" in page.read_text()
    assert "| peak memory of 9,000 samples | 256 |" in page.read_text()


def test_other_rows_are_not_written(
    words: Words, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If a job draws another row than the engine, its time is not recorded."""
    right = EventDraws.columns

    def wrong(self: EventDraws, first: int, count: int) -> dict[str, np.ndarray]:
        found = right(self, first, count)
        return found | {"x": (np.asarray(found["x"]) + 1) % 3}

    monkeypatch.setattr(EventDraws, "columns", wrong)
    assert bulk.main(words) == 1
    assert not (tmp_path / "bulk-digits.jsonl").exists()
