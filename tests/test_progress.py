"""Progress lines: whole, without control codes, and at most an interval apart."""

import io
import re
import threading

import pytest

from ancestral.progress import ProgressLines, duration


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def lines_of(interval: float = 10.0) -> tuple[ProgressLines, Clock, list[str]]:
    clock, written = Clock(), []
    return ProgressLines("sampling", interval, clock, written.append), clock, written


def test_line_after_each_interval() -> None:
    lines, clock, written = lines_of()
    for done in range(61):
        clock.now = float(done)
        lines(done, 300, "log p -3.2" if done == 15 else None)
    assert written == [
        "sampling: 10/300, 3 %, 10 s, 5 min left",
        "sampling: 20/300, 6 %, 20 s, 5 min left, log p -3.2",
        "sampling: 30/300, 10 %, 30 s, 4 min left, log p -3.2",
        "sampling: 40/300, 13 %, 40 s, 4 min left, log p -3.2",
        "sampling: 50/300, 16 %, 50 s, 4 min left, log p -3.2",
        "sampling: 60/300, 20 %, 60 s, 4 min left, log p -3.2",
    ]


def test_long_step_is_repeated() -> None:
    lines, clock, written = lines_of()
    lines.at("graph step")
    assert lines.tick() == 10.0
    clock.now = 7.0
    assert lines.tick() == 3.0
    assert written == []
    clock.now = 10.0
    assert lines.tick() == 10.0
    clock.now = 20.0
    lines.at("graph prefill")
    lines.tick()
    assert written == ["sampling: 10 s, graph step", "sampling: 20 s, graph prefill"]


def test_time_left_counts_only_this_run() -> None:
    """A run that was resumed at step 100 has done two steps in ten seconds, not 102."""
    lines, clock, written = lines_of()
    lines(100, 110)
    clock.now = 10.0
    lines(102, 110)
    assert written == ["sampling: 102/110, 92 %, 10 s, 40 s left"]


def test_thread_writes_during_a_long_step() -> None:
    """A thread writes lines while the work reports nothing."""
    written = threading.Event()
    with ProgressLines("waiting", 0.01, write=lambda line: written.set()):
        assert written.wait(60)


def test_standard_error_whole_lines_without_control_codes(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    from ancestral.progress import progress_bar

    with progress_bar("sampling") as progress:
        assert isinstance(progress, ProgressLines)
        progress(1, 2)
        progress.say()
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == "sampling: 1/2, 50 %, 0 s\n"
    assert re.search(r"[\x00-\x09\x0b-\x1f]", captured.err) is None


def test_closed_standard_error_ends_only_the_lines() -> None:
    closed = io.StringIO()
    closed.close()
    lines = ProgressLines("sampling", 0.0, write=lambda line: closed.write(line) and None)
    with lines:
        lines(1, 2)


def test_durations() -> None:
    assert [duration(s) for s in (0.4, 119.0, 120.0, 3599.0, 7199.0, 7201.0, 90061.0)] == [
        "0 s",
        "119 s",
        "2 min",
        "60 min",
        "2 h 0 min",
        "2 h 0 min",
        "25 h 1 min",
    ]
