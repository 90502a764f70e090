"""The part `tensorrt` with a simulated library: what it measures, and when it is skipped."""

from collections.abc import Callable
from pathlib import Path

import pytest

from ancestral.engine import AutoregressiveEngine
from ancestral.engine.backends.tensorrt_loop import TensorRtBinding
from benchmarks.gpu import tensorrt
from benchmarks.gpu.measure import results
from benchmarks.gpu.part import Cell
from benchmarks.gpu.rows import Failed, GpuRow, Skipped
from tests.conftest import Load
from tests.engine.simulated_plans import engine

from .gpu_rows import rehearsing

Bundles = Callable[..., Path]


def measured(bundles: Bundles, load: Load, folder: Path) -> list[object]:
    made, others = engine(bundles("llama"), folder), {}
    assert isinstance(made, AutoregressiveEngine)
    for name in ("onnxruntime", "torch"):
        others[name] = load("llama", name)
    bench = rehearsing(folder, "tensorrt")
    cell = Cell("llama", lambda _: tensorrt.compared(made, others, 3, bench, {"build_s": 1.5}))
    return list(results([cell], bench))


def test_rows(bundles: Bundles, load: Load, tmp_path: Path) -> None:
    rows = [row for row in measured(bundles, load, tmp_path) if isinstance(row, GpuRow)]
    assert [row.baseline for row in rows] == ["onnxruntime", "torch"]
    for row in rows:
        assert (row.part, len(row.rounds), row.unit) == ("tensorrt", tensorrt.ROUNDS, "ms/step")
        assert row.parity.verified
        assert row.details["samples_unlike_torch"] == 0
        assert row.details["build_s"] == 1.5
        assert row.details["tensors_mb"] > 0


def test_no_speed_of_a_wrong_loop(
    bundles: Bundles, load: Load, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = TensorRtBinding._addresses
    monkeypatch.setattr(TensorRtBinding, "_addresses", lambda self, turn: right(self, 1 - turn))
    found = measured(bundles, load, tmp_path)
    assert found
    assert all(isinstance(each, Failed) for each in found), found


def test_a_skip_has_a_reason(tmp_path: Path) -> None:
    bench = rehearsing(tmp_path, "tensorrt")
    (skipped,) = results(tensorrt.cells(bench), bench)
    assert skipped == Skipped("tensorrt", "a plan runs only on a GPU")
