"""A command line, run in this process; and runs of models with latents that tests share."""

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
"""The bundle of a toy, by name."""
Runs = dict[str, tuple[Path, Result]]
"""A folder, and what the command that made it has printed, by the model."""
STEPS = 4
"""Of the shared runs."""


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str]) -> Cli:
    """Run `ancestral` with these arguments."""

    def call(*arguments: object) -> Result:
        capsys.readouterr()
        code = run([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return Result(code, captured.out, captured.err)

    return call


def invoke(*arguments: object) -> Result:
    """The same for fixtures that several tests share."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        code = run([str(argument) for argument in arguments])
    return Result(code, out.getvalue(), err.getvalue())


def refused(result: Result, *words: str) -> None:
    """Exit code 2, with a sentence that holds these words, and nothing else."""
    assert result.code == 2, result
    assert "Traceback" not in result.err
    assert result.out == ""
    for word in words:
        assert word in result.err, result.err


def interrupt_at(call: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C in the middle of that call of the loop, counted from 1."""
    real, calls = step_loop.begin, 0
    # Python's own handler, which is not there where the tests run in a shell's background.
    signal.signal(signal.SIGINT, signal.default_int_handler)

    def begin(*arguments: Any, **options: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == call:
            signal.raise_signal(signal.SIGINT)
        return real(*arguments, **options)

    monkeypatch.setattr("ancestral.engine.step_loop.begin", begin)


def saved(folder: Path, **arrays: np.ndarray) -> Path:
    """An .npz of these arrays."""
    np.savez(folder / "given.npz", **arrays)
    return folder / "given.npz"


def training(data: Path, model: str, out: Path, *, steps: int = STEPS) -> list[object]:
    """The command that trains a tiny model."""
    common = ["--recipe", "tiny", "--data", f"npz:{data}", "--threads", 1, "--steps", steps]
    return ["train", "--model", model, "-o", out, *common]


def numbers(table: str, row: str) -> list[float]:
    """Those of a table's row: bits/dim, their error, nats, their error."""
    line = next(line for line in table.splitlines() if row in line)
    return [float(text) for text in re.findall(r"-?\d+\.\d+", line)]


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """60 images of 4 x 4 with 3 levels and 2 classes."""
    random = np.random.default_rng(0)
    x, y = random.integers(0, 3, (60, 4, 4)), random.integers(0, 2, 60)
    return saved(tmp_path_factory.mktemp("images"), x=x, y=y)


@pytest.fixture(scope="session")
def latent_runs(images: Path, tmp_path_factory: pytest.TempPathFactory) -> Runs:
    """Checkpoints of a VAE and of a VQ-VAE with its prior. Not to be changed."""
    folder = tmp_path_factory.mktemp("runs")
    return {
        model: (folder / model, invoke(*training(images, model, folder / model)))
        for model in ("vae", "vq")
    }
