"""Run command lines in this process; training runs of models with latents, shared by tests."""

import io
import re
import signal
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ancestral.cli.main import run
from ancestral.engine import step_loop


@dataclass(frozen=True, slots=True)
class Result:
    code: int
    out: str
    err: str


Cli = Callable[..., Result]
Bundles = Callable[[str], Path]
"""Returns the bundle of a toy, by name."""
Runs = dict[str, tuple[Path, Result]]
"""By model: a folder, and the result of the command that wrote it."""
STEPS = 4
"""Training steps of the shared runs."""


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str]) -> Cli:
    """Return a function that runs `ancestral` with its arguments."""

    def call(*arguments: object) -> Result:
        capsys.readouterr()
        code = run([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return Result(code, captured.out, captured.err)

    return call


def invoke(*arguments: object) -> Result:
    """Run `ancestral` as `cli` does, for fixtures of a wider scope."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        code = run([str(argument) for argument in arguments])
    return Result(code, out.getvalue(), err.getvalue())


def refused(result: Result, *words: str) -> None:
    """Check for exit code 2, a message with these words, no traceback and no output."""
    assert result.code == 2, result
    assert "Traceback" not in result.err
    assert result.out == ""
    for word in words:
        assert word in result.err, result.err


def interrupt_at(call: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Send Ctrl-C during the given call of the step loop, counted from 1."""
    real, calls = step_loop.begin, 0
    # Python's own handler is missing if the tests run in the background of a shell.
    signal.signal(signal.SIGINT, signal.default_int_handler)

    def begin(*arguments: Any, **options: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == call:
            signal.raise_signal(signal.SIGINT)
        return real(*arguments, **options)

    monkeypatch.setattr("ancestral.engine.step_loop.begin", begin)


def saved(folder: Path, **arrays: np.ndarray) -> Path:
    """Write the arrays to an .npz file and return its path."""
    np.savez(folder / "given.npz", **arrays)
    return folder / "given.npz"


def training(data: Path, model: str, out: Path, *, steps: int = STEPS) -> list[object]:
    """Return the command line that trains a tiny model."""
    common = ["--recipe", "tiny", "--data", f"npz:{data}", "--threads", 1, "--steps", steps]
    return ["train", "--model", model, "-o", out, *common]


def numbers(table: str, row: str) -> list[float]:
    """Return the numbers in a table's row: bits/dim and their error, nats and their error."""
    line = next(line for line in table.splitlines() if row in line)
    return [float(text) for text in re.findall(r"-?\d+\.\d+", line)]


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write 60 images of 4 x 4 with 3 levels and 2 classes."""
    random = np.random.default_rng(0)
    x, y = random.integers(0, 3, (60, 4, 4)), random.integers(0, 2, 60)
    return saved(tmp_path_factory.mktemp("images"), x=x, y=y)


@pytest.fixture(scope="session")
def latent_runs(images: Path, tmp_path_factory: pytest.TempPathFactory) -> Runs:
    """Train a VAE, and a VQ-VAE with its prior. Tests must not change these checkpoints."""
    folder = tmp_path_factory.mktemp("runs")
    return {
        model: (folder / model, invoke(*training(images, model, folder / model)))
        for model in ("vae", "vq")
    }
