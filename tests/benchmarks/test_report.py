"""Tables show the latest row of each cell; text outside the markers does not change."""

from pathlib import Path

import pytest

from benchmarks import report
from benchmarks.rows import append

from .sample_rows import sample_row

PAGE = f"before\n{report.BEGIN}\nold\n{report.END}\nafter\n"


def test_the_latest_row_of_each_cell_is_shown() -> None:
    old = sample_row(p50=1.0, date="2026-01-01")
    other = sample_row(batch=8)
    new = sample_row(p50=5.0)
    assert report.latest([old, other, new]) == [new, other]


def test_a_table_shows_numbers_with_parity() -> None:
    lines = report.render([sample_row(), sample_row(batch=8, ratio=0.5, met=False)]).splitlines()
    first, second = (line for line in lines if line.startswith("| decode"))
    assert first == (
        "| decode | 1 | 3.00 ms/step (2.40 to 3.60) | plain loop 4.00 | 1.50 "
        "| plain / ours >= 0.95: met | 3.0e-06 of 1.0e-04 |"
    )
    assert "**missed**" in second


def test_rows_of_two_runs_are_in_two_tables_under_one_heading() -> None:
    """A reader compares the rows of a table, so the line above it is true of all of them."""
    other = sample_row(batch=8, commit="fedcba987654")
    later = sample_row(batch=16, date="2026-01-03T00:00:00+00:00")
    lines = report.render([sample_row(), other, later, sample_row(batch=32)]).splitlines()
    shown = [
        line.split("commit ")[1] if "commit " in line else line.split(" | ")[1]
        for line in lines
        if "commit " in line or line.startswith("| decode")
    ]
    assert shown == [
        *("0123456789ab, 2026-01-02.", "1", "32"),
        *("fedcba987654, 2026-01-02.", "8"),
        *("0123456789ab, 2026-01-03.", "16"),
    ]
    assert len([line for line in lines if line.startswith("## ")]) == 1


def test_only_text_between_the_markers_changes() -> None:
    text = report.replaced(PAGE, "table\n")
    assert text == f"before\n{report.BEGIN}\n\ntable\n\n{report.END}\nafter\n"
    assert report.replaced(text, "table\n") == text


@pytest.mark.parametrize("text", ["", report.BEGIN, f"{report.END}{report.BEGIN}", PAGE * 2])
def test_markers_are_needed_once_and_in_order(text: str) -> None:
    with pytest.raises(ValueError, match="once each"):
        report.replaced(text, "table")


def test_a_page_is_written_then_up_to_date(tmp_path: Path) -> None:
    append(sample_row(), tmp_path / "tiny.jsonl")
    page = tmp_path / "page.md"
    page.write_text(PAGE)
    words = [str(page), "--results", str(tmp_path)]
    assert report.main([*words, "--check"]) == 1
    assert page.read_text() == PAGE
    assert report.main(words) == 0
    assert "plain loop 4.00" in page.read_text()
    assert report.main([*words, "--check"]) == 0


def test_missing_rows_or_page_are_reported(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert report.main([str(tmp_path / "page.md"), "--results", str(tmp_path)]) == 2
    assert "no rows" in capsys.readouterr().err
    append(sample_row(), tmp_path / "tiny.jsonl")
    assert report.main([str(tmp_path / "page.md"), "--results", str(tmp_path)]) == 2
    assert "page.md" in capsys.readouterr().err
