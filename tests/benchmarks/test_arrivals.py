"""Arriving requests: the workload's law, the accounting of a trace, rows, and bad input.

No test depends on a time that it measured.
"""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ancestral.dataspec import DataSpec
from ancestral.engine import AutoregressiveEngine
from ancestral.engine.comparison import Limits
from ancestral.errors import InvalidInput
from benchmarks import report
from benchmarks.arrivals import __main__ as arrivals
from benchmarks.arrivals import agreement, runs
from benchmarks.arrivals.costs import Costs
from benchmarks.arrivals.rows import ArrivalsRow, read_rows
from benchmarks.arrivals.runs import Drawn, Run
from benchmarks.arrivals.trace import Heard, Trace
from benchmarks.arrivals.workload import Workload
from benchmarks.cases import Case
from benchmarks.rows import append
from tests.conftest import Load, autoregressive

from .sample_rows import PARITY

TEXT = DataSpec(name="text", event_shape=(512,), levels=50)


def test_arrivals_are_a_poisson_process() -> None:
    """Gaps have mean 1 / rate and an exponential distribution; arrivals are their sums."""
    n, rate = 20_000, 8.0
    workload = Workload.draw(TEXT, n, 3)
    gaps = np.diff(workload.arrivals(rate), prepend=0) * rate
    np.testing.assert_allclose(gaps, workload.gaps, atol=1e-8)
    for at in (0.1, 1.0, 3.0):
        p = np.exp(-at)
        assert abs((gaps > at).mean() - p) < 4 * (p * (1 - p) / n) ** 0.5
    assert abs(gaps.mean() - 1) < 4 / n**0.5
    # Neighbouring gaps are independent.
    assert abs(np.corrcoef(gaps[1:], gaps[:-1])[0, 1]) < 4 / n**0.5
    assert not workload.arrivals(None).any()


def test_lengths_are_uniform() -> None:
    workload = Workload.draw(TEXT, 20_000, 3)
    for lengths, low in ((workload.prompts, 8), (workload.new, 16)):
        assert (lengths.min(), lengths.max()) == (low, 256)
        spread = (256 - low) / 12**0.5
        assert abs(lengths.mean() - (256 + low) / 2) < 4 * spread / 20_000**0.5
    assert abs(np.corrcoef(workload.prompts, workload.new)[0, 1]) < 4 / 20_000**0.5
    assert [each.index for each in workload.requests[:3]] == [0, 1, 2]


def test_the_seed_decides_the_workload() -> None:
    one, same, other = (Workload.draw(TEXT, 5, seed) for seed in (3, 3, 4))
    assert (one.gaps == same.gaps).all()
    assert not (one.gaps == other.gaps).any()
    for mine, again in zip(one.requests, same.requests, strict=True):
        np.testing.assert_array_equal(mine.prompt, again.prompt)
        assert (mine.seed, mine.max_new) == (again.seed, again.max_new) == (3, again.max_new)


def test_a_short_context_has_short_requests() -> None:
    workload = Workload.draw(TEXT.model_copy(update={"event_shape": (9,)}), 50, 0)
    assert set(workload.prompts) == set(workload.new) == {4}
    with pytest.raises(InvalidInput, match="case: expected at least 2 positions, got 1"):
        Workload.draw(TEXT.model_copy(update={"event_shape": (1,)}), 5, 0)


@pytest.mark.parametrize(
    ("n", "seed", "words"), [(0, 0, "requests: expected an integer"), (3, -1, "seed: expected an")]
)
def test_a_wrong_workload_is_refused(n: int, seed: int, words: str) -> None:
    with pytest.raises(InvalidInput, match=words):
        Workload.draw(TEXT, n, seed)


@pytest.mark.parametrize("rate", [0.0, -1.0, float("nan"), float("inf")])
def test_a_wrong_rate_is_refused(rate: float) -> None:
    with pytest.raises(InvalidInput, match="rate: expected a positive number"):
        Workload.draw(TEXT, 3, 0).arrivals(rate)


TRACE = Trace(
    slots=2,
    arrived=np.array([0.0, 1.0, 2.0]),
    heard=(
        Heard(0, 2.0, 2, False, 2),
        Heard(0, 5.0, 3, True, 6),
        Heard(1, 5.0, 1, False, 6),
        Heard(1, 6.0, 1, False, 7),
        Heard(1, 8.0, 4, True, 12),
        Heard(2, 8.0, 1, False, 12),
        Heard(2, 9.0, 0, True, 12),
    ),
)
"""Request 2 waits from 2 to 5 for the slot of request 0; slot 1 is idle from 0 to 1."""


def test_the_accounting_of_a_trace() -> None:
    assert TRACE.values == sum(each.values for each in TRACE.heard) == 12
    assert TRACE.seconds == 9
    assert TRACE.first_value.tolist() == [2, 4, 6]
    assert TRACE.begins.tolist() == [0, 1, 5]
    assert TRACE.gaps.tolist() == [3, 1, 2]
    assert TRACE.between.tolist() == [1, 1, 1, 1, 0.5, 0.5, 0.5, 0.5]
    # Until 5, one of two slots is idle for 1 s.
    assert TRACE.idle_share == pytest.approx(0.1)
    until, values, done = TRACE.saturated()
    assert (until, values, done.tolist()) == (5, 6, [True, True, False])
    assert TRACE.capacity == pytest.approx(6 / 5 / 4)


def test_costs_over_the_time_taken() -> None:
    """3 steps of 2 slots draw 6 values, and two prompts were run, in 5 s."""
    assert Costs(0.5, np.array([1.0, 2.0, 9.0])).share(TRACE) == pytest.approx((3 + 1.5) / 5)


@pytest.mark.parametrize(
    "heard", [TRACE.heard[:-1], (*TRACE.heard, TRACE.heard[-1]), (*TRACE.heard, TRACE.heard[0])]
)
def test_a_trace_ends_each_request_once(heard: tuple[Heard, ...]) -> None:
    with pytest.raises(ValueError, match="each of 3 requests to end once"):
        replace(TRACE, heard=heard)


WORDS = ["--case", "toy", "--slots", "2", "--requests", "5", "--rounds", "2", "--threads", "1"]


@pytest.mark.slow
def test_a_run_appends_rows(
    toy_case: Case, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert arrivals.main([*WORDS, "--results", str(tmp_path)]) == 0
    rows = read_rows(tmp_path)
    assert [row.load_text for row in rows] == ["all at once", "50%", "80%", "95%"]
    assert len(rows[0].rounds) == len(rows[0].baseline_rounds) == len(rows[0].allowed) == 2
    assert rows[0].met is not None
    for row in rows:
        assert row.parity.verified
        assert (row.slots, row.requests, row.seed) == (2, 5, 0)
        assert row.machine.processor
        assert row.values_per_second > 0
        assert 0 <= row.idle_share < 1
        for p50, p95 in (row.first_value, row.between_values, row.between_deltas):
            assert 0 <= p50 <= p95
    assert all(row.rate is not None and not row.allowed for row in rows[1:])
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["rows"] == 4


@pytest.mark.slow
def test_no_request_draws_before_it_arrives(load: Load) -> None:
    engine: AutoregressiveEngine = autoregressive(load, "llama", "onnxruntime")
    run = runs.arriving(engine, Workload.draw(engine.data, 5, 0), 2, 20.0)
    assert (run.trace.first_value > 0).all()


@pytest.mark.slow
def test_rates_on_the_command_line(toy_case: Case, tmp_path: Path) -> None:
    assert arrivals.main([*WORDS, "--rate", "50", "90", "--results", str(tmp_path)]) == 0
    assert [row.rate for row in read_rows(tmp_path)] == [None, 50, 90]


def _other_value(run: Run) -> Run:
    values = run.drawn[1].values.copy()
    values[-1] += 1
    return replace(run, drawn=(run.drawn[0], replace(run.drawn[1], values=values), *run.drawn[2:]))


def _other_log_p(run: Run) -> Run:
    log_p = run.drawn[1].log_p + 1
    return replace(run, drawn=(run.drawn[0], replace(run.drawn[1], log_p=log_p), *run.drawn[2:]))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fault", "words"),
    [(_other_value, "unexplained draws"), (_other_log_p, "log p of our samples")],
)
def test_a_run_that_loses_the_probabilities_leaves_no_row(
    toy_case: Case,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    fault: Callable[[Run], Run],
    words: str,
) -> None:
    at_once = runs.at_once
    monkeypatch.setattr(runs, "at_once", lambda *given: fault(at_once(*given)))
    assert arrivals.main([*WORDS, "--results", str(tmp_path)]) == 1
    assert words in capsys.readouterr().err
    assert read_rows(tmp_path) == []


@pytest.mark.slow
def test_differences_are_counted(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    """A difference is a near tie if u is near an edge; otherwise it is unexplained."""
    engine: AutoregressiveEngine = autoregressive(load, "llama", "onnxruntime")
    workload = Workload.draw(engine.data, 3, 0)
    _, expected = runs.in_batches(engine, workload, 2)
    values = (expected[0].values + 1) % engine.data.levels
    drawn = (replace(expected[0], values=values), *expected[1:])

    def counts(got: tuple[Drawn, ...]) -> tuple[int, int, float | None]:
        found = agreement.checked(engine, PARITY, workload.requests, got, expected)
        return found.near_ties, found.unexplained, found.sample_nats

    assert counts(expected) == (0, 0, PARITY.sample_nats)
    assert counts(drawn)[:2] == (0, 1)
    short = Drawn(expected[0].values[:-1], expected[0].log_p[:-1])
    assert counts((short, *expected[1:]))[:2] == (0, 1)
    nan = replace(expected[0], log_p=np.full_like(expected[0].log_p, np.nan))
    assert counts((nan, *expected[1:]))[2] == np.inf
    real = Limits.of
    monkeypatch.setattr(Limits, "of", lambda *given: replace(real(*given), cdf=1.0))
    assert counts(drawn)[:2] == (1, 0)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--requests", "16"], "--requests: expected more than 16, got 16"),
        (["--slots", "0"], "--rounds, --threads, --slots: expected numbers of at least 1"),
        (["--rate", "0"], "--rate: expected positive numbers, got 0.0"),
        (["--rate", "nan"], "--rate: expected positive numbers, got nan"),
        (["--seed", "-1"], "--seed: expected a number of at least 0, got -1"),
        (["--case", "none"], "argument --case: invalid choice"),
    ],
)
def test_bad_options(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        arrivals.main(words)
    assert ended.value.code == 2
    assert message in capsys.readouterr().err


def row(**changes: Any) -> ArrivalsRow:
    from .sample_rows import sample_row

    like = sample_row(case="llama", unit="s")
    shared = {name: getattr(like, name) for name in ("case", "unit", "rounds", "p20", "p50", "p80")}
    shared |= {name: getattr(like, name) for name in ("baseline", "baseline_rounds", "ratio")}
    shared |= {name: getattr(like, name) for name in ("parity", "machine", "commit", "date")}
    fields: dict[str, Any] = {
        "load": None,
        "rate": None,
        "slots": 16,
        "requests": 160,
        "seed": 0,
        "threads": 2,
        "load_average": 0.1,
        "values_per_second": 1234.5,
        "first_value": (1.5, 20.0),
        "between_values": (2.5, 3.5),
        "between_deltas": (10.0, 30.0),
        "idle_share": 0.125,
        "allowed": (0.95, 0.92, 0.93),
        "target": "allowed / taken >= 0.9",
        "met": True,
    }
    return ArrivalsRow(**shared | fields | changes)


def test_the_page_has_a_table_of_arrivals(tmp_path: Path) -> None:
    late = {"load": 0.8, "rate": 7.0, "allowed": (), "target": None, "met": None, "ratio": None}
    for each in (row(idle_share=0.5), row(**late), row()):
        append(each, tmp_path / "arrivals.jsonl")
    assert read_rows(tmp_path) == [row(idle_share=0.5), row(**late), row()]
    page = tmp_path / "page.md"
    page.write_text(f"{report.BEGIN}\n{report.END}\n")
    assert report.main([str(page), "--results", str(tmp_path)]) == 0
    lines = [line for line in page.read_text().splitlines() if line.startswith("| ")]
    assert lines[1:] == [
        "| all at once |  | 1234 | 1.50, 20.0 | 2.50, 3.50 | 10.0, 30.0 | 12.5% "
        "| 0.930 (allowed / taken >= 0.9: met) | 1.50 | 3.0e-06 of 1.0e-04 |",
        "| 80% | 7.00 | 1234 | 1.50, 20.0 | 2.50, 3.50 | 10.0, 30.0 | 12.5% |  |  "
        "| 3.0e-06 of 1.0e-04 |",
    ]
