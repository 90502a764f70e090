"""The comparison with peers, on toys that are real processes: turns, checks, rows, messages."""

import json
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest

from benchmarks.machine import environment, this_machine
from benchmarks.peers import __main__ as command
from benchmarks.peers import comparison, environments
from benchmarks.peers.cells import Program, attempt, measure, same_model
from benchmarks.peers.environments import Launch, PeerError
from benchmarks.peers.process import Process
from benchmarks.peers.rows import FILE, PeerRow, record
from benchmarks.peers.table import BEGIN, END, render
from benchmarks.peers.worker import Settings
from benchmarks.peers.workloads import Workload
from benchmarks.report import main as report
from benchmarks.rows import append, read

from .sample_rows import sample_row

WORK = Workload("W2", "a toy", "gpt2", 16, 1, 2, levels=5, length=60, prefix=4)
LOGITS = [0.0, 1.0, 2.0, -1.0, 0.5]
Start = Callable[..., Program]

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


def toy(name: str, log: Path, seconds: float = 0.001, **variables: str) -> Launch:
    given = {"TOY_NAME": name, "TOY_LOG": str(log), "TOY_SECONDS": str(seconds)}
    given |= {"TOY_LOGITS": json.dumps(LOGITS)} | variables
    return Launch(name, Path(sys.executable), "tests.benchmarks.toy_peer", environment(**given))


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "log"


@pytest.fixture
def start(log: Path) -> Iterator[Start]:
    """Yield a function that starts a toy as a program, loaded on one thread."""
    with ExitStack() as stack:

        def started(name: str, seconds: float = 0.001, **variables: str) -> Program:
            process = stack.enter_context(Process(toy(name, log, seconds, **variables)))
            program = Program(process, "folder", WORK)
            program.load(1)
            return program

        yield started


def states(process: Process) -> set[str]:
    """Return the states of all threads of a process, as in /proc: "T" is stopped."""
    tasks = Path(f"/proc/{process.pid}/task").iterdir()
    return {(task / "stat").read_text().rpartition(")")[2].split()[0] for task in tasks}


def cpu_ticks(process: Process) -> int:
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def test_only_the_process_that_is_asked_runs(start: Start) -> None:
    idle, asked = start("idle").process, start("asked", seconds=0.5)
    assert states(idle) == states(asked.process) == {"T"}
    before = cpu_ticks(idle), cpu_ticks(asked.process)
    turn = threading.Thread(target=lambda: asked.draw(1, 3, Settings()))
    turn.start()
    turn.join(0.25)
    assert states(idle) == {"T"}
    assert "T" not in states(asked.process)
    turn.join()
    assert states(asked.process) == {"T"}
    assert cpu_ticks(idle) == before[0]
    assert cpu_ticks(asked.process) > before[1], "its thread spins while it runs"


def test_processes_end_with_the_runner_even_if_stopped(log: Path) -> None:
    with Process(toy("a", log)) as process:
        assert states(process) == {"T"}
    assert not Path(f"/proc/{process.pid}").exists()


def test_programs_take_turns_and_a_slow_one_runs_once(start: Start, log: Path) -> None:
    programs = [start("ours"), start("fast", 0.02), start("near", 0.03), start("slow", 0.2)]
    log.write_text("")
    found = measure(programs, 2, 40, Settings(), rounds=3)
    turns = [line.split()[0] for line in log.read_text().splitlines()]
    assert turns == [
        *("ours", "fast", "near", "slow"),  # warm-up
        *("ours", "fast", "near", "slow"),
        *("ours", "fast", "near"),
        *("ours", "fast", "near"),
    ]
    assert [len(each.rounds) for each in found] == [3, 3, 3, 1]
    assert found[3].ms > 0.2 * 1e3 / 40


def test_the_faster_number_of_threads_is_loaded(start: Start) -> None:
    program = start("a", seconds=0.02)
    program.choose_threads(1, 40, (2, 1))
    assert program.threads == 1


def test_the_difference_is_kept_when_threads_change(start: Start) -> None:
    programs = [start("ours"), start("same", seconds=0.02)]
    for each in programs:
        each.load(2)
    same_model(programs)
    programs[1].choose_threads(1, 40, (2, 1))
    assert programs[1].threads == 1
    assert programs[1].result.nats == 0.0


def test_another_model_is_left_out(start: Start) -> None:
    other = json.dumps([*LOGITS[:-1], LOGITS[-1] + 0.01])
    programs = [start("ours"), start("same"), start("other", TOY_LOGITS=other)]
    same_model(programs)
    assert programs[1].result.nats == 0.0
    assert programs[1].result.reason == ""
    assert "log p of given values differs by" in programs[2].result.reason
    assert [len(each.rounds) for each in measure(programs, 1, 40, Settings(), 1)] == [1, 1, 0]


def test_a_program_that_draws_otherwise_is_left_out(start: Start) -> None:
    greedy = json.dumps([0.0, 0.0, 40.0, 0.0, 0.0])
    programs = [start("ours"), start("same"), start("greedy", TOY_DRAWS=greedy)]
    ours, same, other = measure(programs, 4, 40, Settings(), 2)
    assert (len(ours.rounds), len(same.rounds), len(other.rounds)) == (2, 2, 0)
    assert "draws from another distribution" in other.reason


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("error", "RuntimeError: no memory"),
        ("exit", "the process ended: Error: lost the device"),
    ],
)
def test_a_fault_of_a_peer_is_reported_and_the_others_run(
    start: Start, fault: str, reason: str
) -> None:
    found = measure([start("ours"), start("bad", TOY_FAULT=fault)], 1, 10, Settings(), 2)
    assert len(found[0].rounds) == 2
    assert found[1].reason == reason
    with pytest.raises(PeerError, match="no memory"):
        measure([start("ours", TOY_FAULT="error")], 1, 10, Settings(), 1)


def test_values_that_the_model_does_not_have_are_refused(start: Start) -> None:
    program = start("a", TOY_DRAWS=json.dumps([0.0] * 9))
    assert attempt(program, lambda: program.draw(3, 50, Settings())) is None
    assert program.result.reason == "drew a value outside 0 .. 4"


@pytest.fixture
def rows(log: Path, monkeypatch: pytest.MonkeyPatch) -> list[PeerRow]:
    """Return the rows of a workload with two peers, one of them without an environment."""
    seconds = {"ours": 0.005, "ctranslate2": 0.05, "transformers": 0.2}
    monkeypatch.setattr(comparison, "launch", lambda name: toy(name, log, seconds[name]))
    plan = comparison.Plan(this_machine(), rounds=2, threads=(1,), batches=(1, 3), new=20)
    absent = {"openvino-genai": "no wheel for this Python"}
    return list(comparison.compare(WORK, dict.fromkeys(seconds, "folder"), absent, plan))


@pytest.mark.slow
def test_a_row_has_every_program_and_is_read_back(
    rows: list[PeerRow], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    row = rows[0]
    assert [(each.batch, each.sampling) for each in rows] == [
        (1, "T = 1"),
        (1, "T = 0.8, top-p 0.95"),
        (3, "T = 1"),
        (3, "T = 0.8, top-p 0.95"),
    ]
    assert (row.new, row.prefix, row.threads, len(row.rounds)) == (20, 4, 1, 2)
    assert (row.baseline, row.met) == ("ctranslate2", True)
    assert row.ratio is not None
    assert row.ratio > 1
    assert row.peers[0].versions == {"numpy": np.__version__}
    assert row.parity.max_abs_nats == 0.0
    assert row.peers[2].reason == "no wheel for this Python"
    record(row, tmp_path)
    assert read(PeerRow, tmp_path / FILE) == [row]
    assert "openvino-genai: no wheel" in capsys.readouterr().out


@pytest.mark.slow
def test_the_table_has_a_line_for_each_cell(rows: list[PeerRow], tmp_path: Path) -> None:
    lines = [line for line in render(rows).splitlines() if line.startswith("|")]
    assert lines[0] == (
        "| work | batch | drawing | ours | ctranslate2 | openvino-genai | transformers "
        "| best peer / ours | parity, nats |"
    )
    assert [line.split(" | ")[1:3] for line in lines[2:]] == [
        ["1", "T = 1"],
        ["3", "T = 1"],
        ["1", "T = 0.8, top-p 0.95"],
        ["3", "T = 0.8, top-p 0.95"],
    ]
    assert all(line.split(" | ")[5] == "-" for line in lines[2:])
    assert "- openvino-genai, W2, batch 1, T = 1: no wheel for this Python" in render(rows)
    page = tmp_path / "page.md"
    page.write_text(f"<!-- benchmarks:begin -->\n<!-- benchmarks:end -->\n{BEGIN}\n{END}\n")
    append(sample_row(), tmp_path / "tiny.jsonl")
    words = [str(page), "--results", str(tmp_path)]
    assert report(words) == 0
    assert "There are no results yet" in page.read_text()
    record(rows[0], tmp_path)
    assert report(words) == 0
    assert lines[2] in page.read_text()
    assert report([*words, "--check"]) == 0


def test_bad_options_and_missing_environments(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for words, text in (
        (["--peers", "llamas"], "--peers: invalid choice: 'llamas'"),
        (["--only", "W9"], "--only: invalid choice: 'W9'"),
        (["--rounds", "0"], "expected numbers of at least 1"),
    ):
        with pytest.raises(SystemExit, match="2"):
            command.main(words)
        assert text in capsys.readouterr().err
    monkeypatch.setattr(environments, "FOLDER", tmp_path)
    assert command.main(["--peers", "ctranslate2"]) == 2
    assert capsys.readouterr().err == (
        f"{tmp_path}/ctranslate2/bin/python: no such environment; make the environments: "
        "make peers\n"
    )


@pytest.mark.slow
def test_an_environment_that_cannot_be_made_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "ctranslate2.txt").write_text("./nothing-here\n")
    monkeypatch.setattr(environments, "REQUIREMENTS", tmp_path)
    monkeypatch.setattr(environments, "FOLDER", tmp_path / "made")
    assert command.main(["--install", "--peers", "ctranslate2"]) == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("ctranslate2: ERROR: ")
    assert "nothing-here" in last
