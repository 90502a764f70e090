"""Measurement: rows from a separate process have sane values, and its errors are raised here."""

import math
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from ancestral.engine import AutoregressiveEngine, speeds, timing
from ancestral.engine.measure import LatentMeasureRow, StepMeasureRow, measure_engine
from ancestral.engine.timing import MeasurementFailed
from ancestral.errors import BackendUnavailable, BundleError, InvalidInput


@pytest.fixture(scope="module")
def rows(tiny_bundle: Path) -> list[StepMeasureRow]:
    """Measure two batch sizes while this process holds more memory than they need."""
    ballast = np.ones(2**27, np.float32)  # 537 MB, touched
    found = measure_engine(tiny_bundle, "onnxruntime", [3, 1, 3], threads=1, rounds=2)
    assert ballast[-1] == 1
    return found


def test_rows_are_sane(rows: list[StepMeasureRow]) -> None:
    assert [row.batch for row in rows] == [1, 3]
    for row in rows:
        assert (row.backend, row.device, row.threads) == ("onnxruntime", "cpu", 1)
        assert row.steps == 2 * 9
        assert 0 < row.step_ms_p50 <= row.step_ms_p95 <= row.step_ms_p99
        assert min(row.load_s, row.samples_per_s, row.log_prob_events_per_s) > 0
        assert row.passed
        assert row.unexplained == 0
        assert 0 <= row.max_abs_nats < 1e-3
        assert all(math.isfinite(v) for v in row.to_json().values() if isinstance(v, float))


def test_peak_memory_is_that_of_the_measuring_process(rows: list[StepMeasureRow]) -> None:
    """Peak memory leaves out the ballast of this process, and grows with the batch."""
    assert 0 < rows[0].peak_memory_mb <= rows[1].peak_memory_mb < 200


def test_memory_of_this_process() -> None:
    before = timing.memory_now()
    ballast = np.ones(2**25, np.float32)
    assert timing.memory_peak() - before > 0.9 * ballast.nbytes


def test_long_events_are_measured_at_some_positions(
    tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(speeds, "ROUND_SECONDS", 0.0)
    monkeypatch.setattr(speeds, "LEAST_STEPS", 4)
    engine = AutoregressiveEngine.load(tiny_bundle, threads=1)
    milliseconds, batch_s = speeds.time_steps(engine, 2, 3)
    assert milliseconds.shape == (3 * 4,)
    assert batch_s > milliseconds.mean() * 9 / 1e3


def test_errors_of_the_process_are_raised_here(
    tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises((BackendUnavailable, InvalidInput), match="device"):
        measure_engine(tiny_bundle, "onnxruntime", [1], device="nowhere")
    monkeypatch.setattr(timing.sys, "executable", shutil.which("false"))
    with pytest.raises(MeasurementFailed, match="status 1"):
        measure_engine(tiny_bundle, "onnxruntime", [1])


@pytest.mark.parametrize(
    ("backend", "batches", "rounds", "match"),
    [
        ("numpy", [1], 1, "backend"),
        ("onnxruntime", [], 1, "batches"),
        ("onnxruntime", [0], 1, "batch"),
        ("onnxruntime", [1], 0, "rounds"),
    ],
)
def test_wrong_arguments_are_refused(
    tiny_bundle: Path, backend: str, batches: list[int], rounds: int, match: str
) -> None:
    with pytest.raises(InvalidInput, match=match):
        measure_engine(tiny_bundle, backend, batches, rounds=rounds)


def test_missing_bundle(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="no file manifest"):
        measure_engine(tmp_path, "onnxruntime", [1])


def test_latent_rows(bundles: Callable[[str], Path]) -> None:
    """A bundle with latents has rows with encode, decode, samples and bounds."""
    rows = measure_engine(bundles("codes"), "onnxruntime", (3, 1), threads=1, rounds=1)
    assert [row.batch for row in rows] == [1, 3]
    for row in rows:
        assert isinstance(row, LatentMeasureRow)
        assert row.passed
        assert row.unexplained == 0
        assert min(row.encode_ms_p50, row.decode_ms_p50, row.samples_per_s, row.bounds_per_s) > 0
        assert set(row.to_json()) >= {"backend", "bounds_per_s", "max_abs_nats"}
