"""Closed, full and broken streams, and Ctrl-C: an exit code, never a traceback."""

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

START = "from ancestral.cli.start import start; start()"


def python(code: str, *arguments: object, **streams: int) -> subprocess.CompletedProcess[bytes]:
    """Run code in a process that Ctrl-C reaches, as from a terminal."""
    return subprocess.run(
        [sys.executable, "-P", "-c", code, *map(str, arguments)],
        check=False,
        timeout=120,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        **({"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | streams),
    )


def in_shell(redirections: str, *arguments: object) -> subprocess.CompletedProcess[bytes]:
    """Run `ancestral` with redirections of a shell."""
    line = [sys.executable, "-P", "-c", START, *map(str, arguments)]
    shell = ["/bin/sh", "-c", f'exec "$@" {redirections}', "sh", *line]
    return subprocess.run(shell, check=False, timeout=120, capture_output=True)


@pytest.mark.parametrize("arguments", [["--help"], ["--version"]])
def test_closed_pipe(arguments: Sequence[str]) -> None:
    """A pipe whose reader has closed it, as `head` does, ends the command without a message."""
    read, write = os.pipe()
    os.close(read)
    try:
        result = python(START, *arguments, stdout=write)
    finally:
        os.close(write)
    assert (result.returncode, result.stderr) == (141, b"")


@pytest.mark.parametrize(
    ("redirections", "code", "word"),
    [
        (">/dev/full", 2, b"the disk is full"),
        (">&-", 0, b""),
        (">&- 2>&- <&-", 0, b""),
        ("2>&-", 0, b""),
        ("2</dev/null", 0, b""),
    ],
)
def test_streams(redirections: str, code: int, word: bytes) -> None:
    result = in_shell(redirections, "--version")
    assert result.returncode == code, result
    assert b"Traceback" not in result.stderr
    assert b"Exception ignored" not in result.stderr
    assert word in result.stderr


def test_levels_to_a_closed_stream(tiny_bundle: Path) -> None:
    """Levels are written as bytes, which fails if standard output is None."""
    result = in_shell(">&-", "sample", tiny_bundle, "-n", 1)
    assert result.returncode == 0, result
    assert b"1 samples" in result.stderr


@pytest.mark.parametrize("redirection", ["2>/dev/full", "2>&-"])
def test_refusal_without_standard_error(redirection: str) -> None:
    result = in_shell(redirection, "info", "nothing")
    assert (result.returncode, result.stdout, result.stderr) == (2, b"", b"")


def test_interrupt_while_commands_are_imported() -> None:
    """The process ends by the signal, which a shell reports as 130."""
    code = f"""
import signal, sys
class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == "ancestral.cli.main":
            signal.raise_signal(signal.SIGINT)
sys.meta_path.insert(0, Finder())
{START}
"""
    result = python(code, "--version")
    assert (result.returncode, result.stdout, result.stderr) == (-signal.SIGINT, b"", b"")


HANDLED = """
import signal, time
from ancestral.cli.interrupts import Interrupts, noted_interrupt
from ancestral.cli.main import guarded

class Dropped:
    def __del__(self):
        signal.raise_signal(signal.SIGINT)

def in_a_destructor():
    Dropped()
    time.sleep(600)

def in_a_library():
    try:
        signal.raise_signal(signal.SIGINT)
    except KeyboardInterrupt:
        raise ImportError("initialization failed") from None

def noted():
    with noted_interrupt("stopping after this step") as interrupted:
        print(interrupted())
        signal.raise_signal(signal.SIGINT)
        print(interrupted(), flush=True)
        in_a_library()

interrupts = Interrupts()
interrupts.install()
raise SystemExit(guarded(WHERE, interrupts))
"""


@pytest.mark.parametrize("where", ["in_a_destructor", "in_a_library"])
def test_interrupt_that_is_swallowed(where: str) -> None:
    result = python(HANDLED.replace("WHERE", where))
    assert (result.returncode, result.stdout, result.stderr) == (130, b"", b"")


def test_interrupt_that_is_noted() -> None:
    """The first Ctrl-C lets a step end, also in a terminal; the second stops immediately."""
    result = python(HANDLED.replace("WHERE", "noted"))
    assert (result.returncode, result.stdout) == (130, b"False\nTrue\n")
    assert result.stderr == b"stopping after this step; press Ctrl-C again to stop immediately\n"


STEP = """
import signal
from ancestral.train import training

real = training._step

def step(state, recipe):
    real(state, recipe)
    if state.step in STEPS:
        signal.raise_signal(signal.SIGINT)

training._step = step
"""


@pytest.mark.slow
def test_interrupted_training(tmp_path: Path) -> None:
    """Training in another process, which starts without Python's handler of Ctrl-C, can stop."""
    arguments = ["train", "--recipe", "tiny", "--no-evaluate", "-o", tmp_path / "run"]
    result = python(STEP.replace("STEPS", "(3,)") + START, *arguments)
    assert result.returncode == 130, result
    assert b"stopping after this step" in result.stderr
    assert b"--resume" in result.stderr
    assert (tmp_path / "run/state.pt").is_file()
    resumed = python(START, *arguments, "--resume")
    assert resumed.returncode == 0, resumed
