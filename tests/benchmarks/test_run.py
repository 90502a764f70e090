"""A short run writes rows for every part, or none and ends with 1. No test depends on a time."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ancestral.engine import Engine
from ancestral.engine.verify import compare
from ancestral.parity import ParityReport
from benchmarks import run
from benchmarks.cases import Case
from benchmarks.decode import Given
from benchmarks.recorder import Recorder
from benchmarks.rows import CaseRow, read

pytestmark = pytest.mark.slow

WORDS = ["toy", "--rounds", "2", "--loads", "1", "--threads", "1", "--batch", "2"]


def test_a_run_appends_rows_with_their_parity(
    toy_case: Case, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [*WORDS, "--only", "decode", "host", "memory", "--results", str(tmp_path)]
    assert run.main(words) == 0
    rows = read(CaseRow, tmp_path / "toy.jsonl")
    assert [row.quantity for row in rows] == [
        *("decode", "prefill", "prefill without log p", "host between steps"),
        *("first load", "load", "peak memory"),
    ]
    assert all(row.parity.verified and row.p20 <= row.p50 <= row.p80 for row in rows)
    assert all(value > 0 for row in rows for value in row.rounds)
    assert len(rows[0].rounds) == len(rows[0].baseline_rounds) == 2
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["rows"] == len(rows)


@pytest.mark.slow
def test_a_prefill_without_log_p_runs_the_graph_without_predictions(
    toy_case: Case, tmp_path: Path
) -> None:
    """Log p of the prompt stays 0, and what is drawn after it is the same."""
    subject = run.Subject.load(toy_case, Recorder.begin(1, results=tmp_path))
    given = Given.of(toy_case, 2)
    scored, bare = subject.loop(given)(), subject.loop(given, prompt_log_p=False)()
    assert scored.log_p is not None
    assert bare.log_p is not None
    assert (scored.log_p[:, : given.prefix] < 0).all()
    assert (bare.log_p[:, : given.prefix] == 0).all()
    np.testing.assert_array_equal(bare.values, scored.values)
    np.testing.assert_allclose(
        bare.log_p[:, given.prefix :], scored.log_p[:, given.prefix :], atol=1e-5
    )
    assert bare.prefill_s > 0


@pytest.mark.slow
def test_settings_are_compared_with_unfiltered_steps(
    toy_case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The toy has no step with filters, so that a filter would end the run."""
    monkeypatch.setattr(run, "SAMPLINGS", dict(list(run.SAMPLINGS.items())[:1]))
    assert run.main([*WORDS, "--only", "settings", "--results", str(tmp_path)]) == 0
    (row,) = read(CaseRow, tmp_path / "toy.jsonl")
    assert (row.quantity, row.baseline) == ("decode, temperature 0.8", run.UNFILTERED_LOOP)
    assert row.parity.verified
    assert len(row.rounds) == len(row.baseline_rounds) == 2
    assert row.target == "ours / unfiltered <= 1.05"


def test_targets_of_settings() -> None:
    """A temperature may cost least; filters most at 50,000 values."""
    filtered = run.SAMPLINGS["temperature 0.8, top-p 0.95"]
    found = [
        run.slowdown(run.CASES[name], batch, sampling)
        for name, batch, sampling in [
            ("W2", 1, run.SAMPLINGS["temperature 0.8"]),
            ("W2", 1, filtered),
            ("W2", 16, filtered),
            ("W1", 1, filtered),
        ]
    ]
    assert found == [1.05, 1.15, 1.2, 1.25]


def test_a_run_that_loses_the_probabilities_leaves_no_row(
    toy_case: Case,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def broken(engine: Engine) -> ParityReport:
        report = compare(engine)
        return replace(report, sampled=replace(report.sampled, max_abs_nats=1.0))

    monkeypatch.setattr(Engine, "verify", broken)
    assert run.main([*WORDS, "--only", "decode", "--results", str(tmp_path)]) == 1
    assert "log p" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
