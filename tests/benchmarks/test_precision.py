"""Rows of bundles with smaller weights: their table, and a rehearsal on a toy."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ancestral.errors import ParityError
from benchmarks.machine import CHECKOUT
from benchmarks.precision import losses
from benchmarks.precision.rows import PrecisionRow, line, read_rows, table
from benchmarks.report import replaced
from benchmarks.rows import append


def test_the_page_shows_the_rows() -> None:
    page = (CHECKOUT / "docs" / "precision.md").read_text()
    shown = "\n".join(table(read_rows()))
    assert replaced(page, shown) == page, "python -m benchmarks.precision"


def test_last_row_of_each_machine() -> None:
    row = read_rows()[-1]
    later = replace(row, p50=row.p50 + 1)
    other = replace(row, machine=replace(row.machine, processor="another one"))
    lines = table([row, later, other])
    assert line(later) in lines
    assert lines.count(line(row)) == 1
    assert sum(each.startswith("| model") for each in lines) == 2


@pytest.mark.slow
def test_rehearsal(
    bundles: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("ancestral.train.quantisation.quantise.SMALLEST", 64)
    path = bundles("llama")
    engine = losses.Engine.load(path, backend="onnxruntime", threads=1)
    np.savez(tmp_path / "data.npz", x=engine.sample(8, seed=3).x)
    words = [f"{path}={tmp_path / 'data.npz'}", "--variants", "int8", "--rounds", "2"]
    assert losses.main([*words, "--threads", "1", "--results", str(tmp_path)]) == 0
    assert json.loads(capsys.readouterr().out) == {"rows": 2}
    first, second = read_rows(tmp_path)
    assert isinstance(first, PrecisionRow)
    assert (first.batch, second.batch, first.weights) == (1, 16, "int8")
    assert first.loss_error is not None
    assert abs(first.loss_nats or 0) < 0.01
    assert len(first.rounds) == len(first.baseline_rounds) == 2
    wrong = replace(first.parity, verified=False)
    with pytest.raises(ParityError):
        append(replace(first, parity=wrong), tmp_path / "none.jsonl")
