"""`make test-install` distinguishes a failure from a missing wheel, also by its exit status."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.install.__main__ import PAGE, ROWS, verdict
from tests.install.environment import Installation, first_line, try_out
from tests.install.interpreters import Interpreter, find
from tests.install.requirements import Versions, asked, lower_bounds, pin, torch_requirements
from tests.install.rows import BEGIN, END, Row, append, latest, page, read

NO_WHEEL = "ERROR: No matching distribution found for {}"
OFFLINE = "WARNING: Retrying (Retry(total=0)) after connection broken\n" + NO_WHEEL


def sample_row(**changes: object) -> Row:
    values: dict[str, object] = {
        "python": "3.13.0",
        "extra": "cpu",
        "asked": "newest",
        "versions": {"numpy": "2.5.5", "onnxruntime": "1.32.0"},
        "outcome": "passed",
        "error": "",
        "system": "Linux x86_64",
        "date": "2026-11-29T00:00:00+00:00",
    }
    return Row(**(values | changes))


def executable(path: Path, script: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


def fake_python(folder: Path, pip: str) -> Interpreter:
    """Return a Python whose environments have a Python that runs `pip` for every command."""
    made = executable(folder / "made", pip)
    script = f'mkdir -p "$3/bin" && cp "{made}" "$3/bin/python"'
    return Interpreter(executable(folder / "python3.99", script), "3.99.0")


@pytest.mark.parametrize(
    ("extra", "pip", "outcome", "error"),
    [
        ("cpu", "echo '{}'", "passed", ""),
        ("cpu", "echo 'ERROR: no space' >&2; exit 1", "failed", "ERROR: no space"),
        ("cpu", "kill -9 $$", "failed", "killed by signal 9"),
        (
            "cpu",
            f"echo '{NO_WHEEL.format('onnxruntime')}' >&2; exit 1",
            "no wheel",
            "of onnxruntime",
        ),
        (
            "train,export,cpu",
            f"echo '{NO_WHEEL.format('torch')}' >&2; exit 1",
            "no wheel",
            "of torch",
        ),
        ("cpu", f"echo '{NO_WHEEL.format('rich')}' >&2; exit 1", "failed", NO_WHEEL.format("rich")),
        (
            "cpu",
            f"echo '{OFFLINE.format('torch')}' >&2; exit 1",
            "failed",
            NO_WHEEL.format("torch"),
        ),
    ],
    ids=["passes", "fails", "crashes", "onnxruntime", "torch", "another", "offline"],
)
def test_outcome(tmp_path: Path, extra: str, pip: str, outcome: str, error: str) -> None:
    what = Installation(tmp_path / "a.whl", tmp_path, extra, "pinned")  # type: ignore[arg-type]
    row = try_out(fake_python(tmp_path, pip), what)
    assert (row.outcome, row.error, row.python) == (outcome, error, "3.99.0")


def test_an_environment_that_is_not_made_fails(tmp_path: Path) -> None:
    python = Interpreter(
        executable(tmp_path / "python3.99", "echo 'no venv' >&2; exit 1"), "3.99.0"
    )
    row = try_out(python, Installation(tmp_path / "a.whl", tmp_path, "cpu", "newest"))
    assert (row.outcome, row.error, row.versions) == ("failed", "no venv", {})


@pytest.mark.parametrize(
    ("outcomes", "status"),
    [
        (["passed", "passed"], 0),
        (["passed", "no wheel"], 0),
        (["passed", "failed"], 1),
        (["no wheel"], 1),
        ([], 1),
    ],
)
def test_exit_status(outcomes: list[str], status: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert verdict([sample_row(outcome=outcome) for outcome in outcomes]) == status
    last = capsys.readouterr().out.splitlines()[-1]
    counts = [outcomes.count(each) for each in ("passed", "failed", "no wheel")]
    assert last == "{} passed, {} failed, {} without a wheel".format(*counts)


def test_the_first_line_is_that_of_the_last_error() -> None:
    code = "try: 1 / 0\nexcept ValueError: pass"
    chained = "try:\n    1 / 0\nexcept ZeroDivisionError:\n    raise OSError('one\\ntwo')"
    for source, expected in (
        (code, "ZeroDivisionError: division by zero"),
        (chained, "OSError: one"),
    ):
        done = subprocess.run(
            [sys.executable, "-c", source], capture_output=True, text=True, check=False
        )
        assert first_line(done) == expected


def test_finds_a_python_on_path_then_the_newest_of_pyenv(tmp_path: Path) -> None:
    shims = tmp_path / "shims"
    executable(shims / "python3.99", "exit 127")
    for version in ("3.99.9", "3.99.10"):
        bin_folder = tmp_path / "pyenv" / "versions" / version / "bin"
        executable(bin_folder / "python3.99", f"echo {version}")
    environment = {"PATH": f"{shims}{os.pathsep}{tmp_path}", "PYENV_ROOT": str(tmp_path / "pyenv")}
    found = find("python3.99", environment | {"HOME": str(tmp_path)})
    assert found is not None
    assert found.version == "3.99.10"
    executable(tmp_path / "python3.99", "echo 3.99.1")
    found = find("python3.99", environment | {"HOME": str(tmp_path)})
    assert found == Interpreter(tmp_path / "python3.99", "3.99.1")
    assert find("python3.98", environment | {"HOME": str(tmp_path)}) is None


def test_requirements() -> None:
    assert torch_requirements("cpu", "pinned") == ()
    assert torch_requirements("train,export,cpu", "pinned") == (pin("torch"), "torch")
    bounds = lower_bounds("train,export,cpu")
    assert torch_requirements("train,export,cpu", "oldest") == ("torch==2.11",)
    assert {"numpy==2.0", "onnxruntime==1.25", "onnx==1.20"} < set(bounds)
    assert not any(each.startswith(("torch", "onnx==")) for each in lower_bounds("cpu"))


def test_rows_and_page(tmp_path: Path) -> None:
    old = sample_row(outcome="failed", error="a | b", date="2026-11-28T00:00:00+00:00")
    other, new = sample_row(python="3.9.1"), sample_row(python="3.13.1")
    append(tmp_path / "rows.jsonl", [old, other])
    append(tmp_path / "rows.jsonl", [new])
    assert read(tmp_path / "rows.jsonl") == [old, other, new]
    assert latest([old, other, new]) == [other, new]
    text = page(f"before\n{BEGIN}\n{END}\n", [old])
    assert "Linux x86_64, 2026-11-28:" in text
    assert "| 3.13.0 | 2.5.5 |  | 1.32.0 |  | `[cpu]` | newest | failed: a \\| b |" in text


def test_the_page_has_the_rows() -> None:
    text = PAGE.read_text()
    assert page(text, read(ROWS)) == text


@pytest.mark.parametrize(
    ("versions", "torch", "words"),
    [
        ("pinned", pin("torch").removeprefix("torch=="), "newest, torch pinned"),
        ("pinned", pin("torch").removeprefix("torch==") + "+cpu", "newest, torch pinned"),
        ("pinned", "99.0.0+cpu", "newest"),
        ("pinned", None, "newest, torch pinned"),
        ("newest", "99.0.0", "newest"),
        ("oldest", "2.11.0", "oldest"),
    ],
)
def test_words_for_the_versions(versions: Versions, torch: str | None, words: str) -> None:
    """The words follow what was installed: the newest PyTorch, if the pinned one has no wheel."""
    installed = {"numpy": "2.5.5"} | ({"torch": torch} if torch else {})
    assert asked("train,export,cpu", versions, installed) == words
