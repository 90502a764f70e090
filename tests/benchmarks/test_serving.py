"""The benchmark of the server: a run with a toy, its rows, its table, and a planted fault."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import cases, report
from benchmarks.rows import read
from benchmarks.serving import __main__ as serving
from benchmarks.serving.client import Heard
from benchmarks.serving.rows import FILE, ServingRow
from tests.text_toys import export_text, make_text

pytestmark = pytest.mark.slow

WORDS = ["--case", "served-toy", "--slots", "2", "--queue", "2", "--requests", "12"]


@pytest.fixture(scope="module")
def served_toy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[cases.Case]:
    """Yield the toy with text as a case, in a temporary folder."""
    data = make_text().data
    case = cases.Case(
        "served-toy",
        "a toy",
        {},
        event_shape=data.event_shape,
        levels=data.levels,
        tokenizer=data.tokenizer,
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cases, "BUNDLES", tmp_path_factory.mktemp("served"))
        patch.setitem(cases.CASES, case.name, case)
        export_text(cases.bundle_folder(case) / "bundle")
        yield case


def test_a_run_appends_rows(
    served_toy: cases.Case, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert serving.main([*WORDS, "--load", "0.5", "50", "--results", str(tmp_path)]) == 0
    rows = read(ServingRow, tmp_path / FILE)
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["rows"] == 2
    slow, fast = rows
    assert (slow.answered, slow.refused, slow.errors) == (12, 0, 0)
    assert slow.met
    assert slow.values_per_second > 0
    assert fast.answered + fast.refused == 12
    assert fast.errors == 0
    assert fast.target is not None
    for row in rows:
        assert row.parity.verified
        assert row.parity.sample_nats is not None
        assert 0 < row.first_value[0] <= row.first_value[1]
        assert 0 < row.between_values[0] <= row.between_values[1]
        assert row.values_per_second >= 0
        assert min(row.resident_mb) > 10
    page = tmp_path / "page.md"
    page.write_text(f"{report.BEGIN}\n{report.END}\n")
    assert report.main([str(page), "--results", str(tmp_path)]) == 0
    shown = [line for line in page.read_text().splitlines() if line.startswith(("| 5", "## S"))]
    assert [line[:8] for line in shown] == ["## Serve", "| 50% | ", "| 5000% "]


@pytest.mark.slow
def test_a_server_that_loses_the_probabilities_leaves_no_row(
    served_toy: cases.Case,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    real = serving.compared

    def compared(*given: object) -> list[Heard]:
        first, *others = real(*given)  # type: ignore[arg-type]
        return [replace(first, log_p=[nats + 0.1 for nats in first.log_p]), *others]

    monkeypatch.setattr(serving, "compared", compared)
    assert serving.main([*WORDS, "--load", "0.5", "--results", str(tmp_path)]) == 1
    assert "unexplained draws" in capsys.readouterr().err
    assert not (tmp_path / FILE).exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--requests", "16"], "--requests: expected more than 16, got 16"),
        (["--queue", "0"], "--slots, --queue: expected numbers of at least 1"),
        (["--load", "nan"], "--load: expected positive numbers below 100, got nan"),
        (["--seed", "-1"], "--seed: expected a number of at least 0, got -1"),
        (["--case", "llama"], "argument --case: invalid choice"),
    ],
)
def test_bad_options(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        serving.main(words)
    assert ended.value.code == 2
    assert message in capsys.readouterr().err
