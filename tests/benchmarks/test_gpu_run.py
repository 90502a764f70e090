"""A whole run on a simulated GPU: its checks, processes, files and exit status."""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks.gpu import checks, processes, records, run
from benchmarks.gpu import part as parts
from benchmarks.gpu.part import OURS, Bench
from benchmarks.gpu.rows import Failed, GpuRow, Skipped, record
from benchmarks.machine import CHECKOUT, machine_of_torch
from benchmarks.rows import read

from .gpu_rows import MACHINE, rehearsing, sample_row

Results = Sequence[GpuRow | Skipped | Failed]


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return rehearsing(tmp_path)


def outcome(tmp_path: Path, *lines: dict[str, object]) -> checks.Outcome:
    file = tmp_path / "records.jsonl"
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return checks.Outcome.read(file)


KERNEL = "tests/triton_kernels/kernels/test_"


def test_a_failed_test_counts_against_its_operator(tmp_path: Path) -> None:
    got = outcome(
        tmp_path,
        {"test": f"{KERNEL}linear.py::test_a", "outcome": "passed", "why": ""},
        {"test": f"{KERNEL}sample_token_filtered.py::test_b[1]", "outcome": "failed", "why": "E"},
        {"test": f"{KERNEL}linear.py::test_c", "outcome": "skipped", "why": "no GPU"},
    )
    assert (got.passed, len(got.failed), len(got.skipped), got.finished) == (1, 1, 1, False)
    assert got.against("linear") is None
    assert got.against("ceilings") is None
    for part in ("sample_token", "steps"):
        assert str(got.against(part)).startswith("1 of its tests failed: ")
    assert outcome(tmp_path, {"finished": 0}).finished


def test_a_missing_package_is_not_a_failure(tmp_path: Path) -> None:
    lost = "E   ModuleNotFoundError: No module named '{}'"
    got = outcome(
        tmp_path,
        {"test": "tests/a.py", "outcome": "uncollected", "why": lost.format("diffusers.models")},
        {"test": "tests/b.py", "outcome": "uncollected", "why": lost.format("ancestral.x")},
    )
    assert got.skipped == (("tests/a.py", "diffusers is not installed"),)
    assert [test for test, _ in got.failed] == ["tests/b.py"]


def test_each_outcome_is_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "test_it.py").write_text(
        "import pytest\n"
        "def test_right(): pass\n"
        "def test_wrong(): assert 1 == 2\n"
        "def test_left(): pytest.skip('no GPU')\n"
    )
    (tmp_path / "test_lost.py").write_text("import no_such_package\n")
    records = tmp_path / "records"
    words = ["-p", "benchmarks.gpu.checks", "--records", str(records), "-p", "no:cacheprovider"]
    # A worker of xdist has this variable; the run that is started is not a worker.
    monkeypatch.setenv("PYTEST_XDIST_WORKER", "gw0")
    subprocess.run(
        [sys.executable, "-m", "pytest", "-q", *words, "--continue-on-collection-errors", "."],
        cwd=tmp_path,
        env=processes.environment(rehearsal=False),
        capture_output=True,
        check=False,
    )
    got = checks.Outcome.read(records)
    assert (got.passed, got.finished) == (1, True)
    assert [(test.rpartition(":")[2], why) for test, why in got.failed] == [
        ("test_wrong", "assert 1 == 2")
    ]
    assert sorted(got.skipped) == [
        ("test_it.py::test_left", "no GPU"),
        ("test_lost.py", "no_such_package is not installed"),
    ]


def test_command_leaves_out_what_is_not_installed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(checks, "find_spec", lambda name: None)
    words = checks.command(tmp_path, rehearsal=False)
    assert "-n" not in words
    assert "no:xdist" in words
    assert not any(word.startswith("--jaxtyping") for word in words)
    monkeypatch.setattr(checks, "find_spec", lambda name: name)
    assert "-n" in checks.command(tmp_path, rehearsal=False)


@pytest.fixture
def fake(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Callable[[dict[str, Results], list[dict[str, object]]], int]:
    """Return a function that does a run on a simulated GPU, with given records of its processes."""

    def go(parts: dict[str, Results], tested: list[dict[str, object]], status: int = 0) -> int:
        def process(command: list[str], *_: object, **__: object) -> processes.Exit:
            file = Path(command[command.index("--records") + 1])
            lines = [json.dumps(line) for line in tested]
            if "pytest" not in command:
                lines = [record(each) for each in parts.get(command[3], ())]
            file.write_text("".join(line + "\n" for line in lines))
            return processes.Exit(0 if "pytest" in command else status)

        monkeypatch.setattr(processes, "run", process)
        monkeypatch.setattr(run, "machine_of_torch", lambda: MACHINE)
        words = ["--results", str(tmp_path / "results"), "--out", str(tmp_path / "out")]
        return run.main("about", [*words, "--parts", "checks", *parts])

    return go


PASSED = [{"test": f"{KERNEL}linear.py::test_a", "outcome": "passed"}, {"finished": 0}]


def test_rows_are_written(fake: Any, bench: Bench, tmp_path: Path, capsys: Any) -> None:
    measured = replace(sample_row(bench, least_ratio=1.5), rehearsal=False)
    assert fake({"linear": [measured, Skipped("FlexAttention", "time")]}, PASSED) == 0
    for folder in ("results", "out"):
        assert read(GpuRow, tmp_path / folder / "gpu-linear.jsonl") == [measured]
    printed = capsys.readouterr().out.splitlines()
    assert printed[0] == MACHINE.line
    assert printed[-1].endswith("yes")
    assert set(printed) <= set((tmp_path / "out" / "gpu.log").read_text().splitlines())


def test_a_failed_comparison_ends_with_1(fake: Any, bench: Bench, tmp_path: Path) -> None:
    wrong = Failed("linear, 2 x 2", "1 relative is over 4e-06")
    assert fake({"linear": [wrong], "sample_token": [sample_row(bench)]}, PASSED) == 1
    assert not (tmp_path / "results" / "gpu-sample_token.jsonl").exists()
    assert (tmp_path / "results" / "gpu-linear.jsonl").exists()


@pytest.mark.parametrize(
    ("tested", "message"),
    [
        ([{"test": f"{KERNEL}linear.py::test_a", "outcome": "failed", "why": "off"}], "1 of its"),
        ([{"test": f"{KERNEL}embed.py::test_a", "outcome": "passed"}], "ended with status 0; see"),
        ([{"finished": 5}], "no test ran"),
    ],
    ids=["failed", "cut short", "none"],
)
def test_checks_that_do_not_pass_end_with_1(
    fake: Any, bench: Bench, tmp_path: Path, capsys: Any, tested: Any, message: str
) -> None:
    """An operator is measured all the same, but has no row if one of its tests failed."""
    assert fake({"linear": [sample_row(bench)], "sample_token": []}, tested) == 1
    assert message in capsys.readouterr().out
    assert (tmp_path / "results" / "gpu-linear.jsonl").exists() == (message != "1 of its")


def test_a_non_finite_number_ends_with_1(fake: Any, bench: Bench, tmp_path: Path) -> None:
    wrong = sample_row(bench, details={OURS: {"host_share": float("inf")}})
    assert fake({"linear": [wrong]}, PASSED) == 1
    assert not list((tmp_path / "results").glob("*"))


def test_the_plugin_of_pytest_imports_nothing_whose_annotations_are_checked() -> None:
    code = "import benchmarks.gpu.checks, sys; sys.exit('ancestral' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, cwd=CHECKOUT).returncode == 0


def test_a_line_that_is_cut_off_is_left_out(tmp_path: Path) -> None:
    file = tmp_path / "records"
    assert records.whole_lines(file) == []
    file.write_text('{"test": "a", "outcome": "passed"}\n{"test": "b", "outc')
    assert records.whole_lines(file) == ['{"test": "a", "outcome": "passed"}']
    got = checks.Outcome.read(file)
    assert (got.passed, got.finished) == (1, False)


def test_a_broken_process_is_reported(fake: Any, bench: Bench, capsys: Any) -> None:
    assert fake({"linear": [sample_row(bench)]}, PASSED, status=-11) == 1
    assert "FAILED: linear: its process was killed by SIGSEGV" in capsys.readouterr().out


SAYS = "import os, sys; print('begun', flush=True); print('deep', file=sys.stderr, flush=True); "
ENDS = {
    "by exit": ("sys.exit(3)", 3, "ended with status 3; its last lines: "),
    "by a signal": ("os.kill(os.getpid(), 9)", -9, "was killed by SIGKILL; its last lines: "),
    "too late": (
        "import time; time.sleep(60)",
        None,
        "was ended because its time was over; its last lines: ",
    ),
}
"""How a process ends, its status, and the message about it."""


@pytest.mark.parametrize("end", ENDS)
def test_how_a_process_ended(tmp_path: Path, capsys: pytest.CaptureFixture[str], end: str) -> None:
    code, status, message = ENDS[end]
    command, begin = [sys.executable, "-S", "-c", SAYS + code], time.monotonic()
    seconds = 1.0 if status is None else 60.0
    with closing(processes.Log(tmp_path / "log")) as log:
        log.say("what was before")
        ended = processes.run(command, log, {}, seconds, screen=True)
    assert time.monotonic() - begin < 20
    assert ended.status == status
    assert str(ended).startswith(message)
    assert sorted(ended.last_lines.split(" | ")) == ["begun", "deep"]
    assert capsys.readouterr().out == "what was before\nbegun\n"
    assert sorted(log.path.read_text().splitlines()[1:]) == ["begun", "deep"]


@pytest.mark.parametrize("end", ENDS)
def test_checks_whose_process_ended(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, end: str
) -> None:
    """A test process that dies is reported as dead, not as too slow."""
    code, status, message = ENDS[end]
    command = [sys.executable, "-S", "-c", SAYS + code]
    monkeypatch.setattr(run, "command", lambda records, *, rehearsal: command)
    monkeypatch.setattr(run, "machine_of_torch", lambda: MACHINE)
    monkeypatch.setitem(run.SHARES, "ceilings", 0)
    monkeypatch.setattr(run, "measure", lambda *_: None)
    minutes = "0.03" if status is None else "1"
    words = ["--out", str(tmp_path), "--parts", "checks", "--minutes", minutes]
    assert run.main("about", words) == 1
    printed = capsys.readouterr().out
    late = "FAILED: checks: not finished after 2 s; raise --minutes"
    dead = f"FAILED: checks: their process {message}"
    assert (late in printed, dead in printed) == (status is None, status is not None)


@pytest.mark.parametrize("end", ["by exit", "by a signal"])
def test_an_export_that_broke(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, end: str
) -> None:
    """An export that broke is not reported as too slow."""
    code, status, _ = ENDS[end]
    monkeypatch.setattr(run, "machine_of_torch", lambda: MACHINE)
    options = run._options("about", ["--out", str(tmp_path), "--parts", "steps"])
    with closing(processes.Log(tmp_path / "log")) as log:
        whole = run._run(options, log, tmp_path)
        run.exported(whole, processes.start([sys.executable, "-S", "-c", SAYS + code], log, {}))
    printed = capsys.readouterr().out
    assert f"FAILED: export: the export process {processes.Exit(status)}; see" in printed
    assert "in time" not in printed


def test_machine_in_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    assert MACHINE.line.startswith("Some GPU, driver 1.2; torch 2.11.0 for CUDA 13.0")
    assert replace(MACHINE, gpu=None).line.startswith("no CUDA GPU; ")
    assert machine_of_torch().versions["torch"] == torch.__version__
    monkeypatch.setattr(parts, "find_spec", lambda name: None if name == "xdist" else name)
    assert list(parts.missing()) == [("parallel checks", "xdist is not installed")]
