"""`--json` prints one JSON document to standard output, and nothing else."""

import importlib.util
import json
import re
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ancestral.bundles.bundle import Bundle
from ancestral.cli import doctor as doctor_module
from ancestral.cli.output import json_text
from ancestral.engine import Engine
from ancestral.engine.backends import BACKENDS
from ancestral.engine.measure import LatentMeasureRow, StepMeasureRow
from ancestral.parity_document import parity_document

from .conftest import Cli

PARITY = {
    "passed",
    "max_abs_nats",
    "mean_abs_nats",
    "mean_signed_nats",
    "max_kl",
    "argmax_flips",
    "near_ties",
    "unexplained",
}
ROW = StepMeasureRow(
    backend="onnxruntime",
    device="cpu",
    threads=None,
    batch=2,
    steps=9,
    load_s=0.5,
    step_ms_p50=1.0,
    step_ms_p95=2.0,
    step_ms_p99=3.0,
    samples_per_s=100.0,
    log_prob_events_per_s=200.0,
    peak_memory_mb=30.0,
    max_abs_nats=1e-6,
    unexplained=0,
    passed=True,
)

LATENT_ROW = LatentMeasureRow(
    backend="torch",
    device="cpu",
    threads=1,
    batch=2,
    load_s=0.5,
    encode_ms_p50=1.5,
    decode_ms_p50=2.5,
    samples_per_s=100.0,
    bounds_per_s=12.5,
    peak_memory_mb=30.0,
    max_abs_nats=1e-6,
    unexplained=0,
    passed=True,
)


def test_info(cli: Cli, tiny_bundle: Path) -> None:
    result = cli("info", tiny_bundle, "--json")
    document = json.loads(result.out)
    assert document["data"]["event_shape"] == [3, 3]
    assert document["data"]["num_classes"] == 2
    assert "step" in document["graphs"]
    # Two layers of keys and values of width 16 in float32 at each of 9 positions, and one int64
    # per position, from which the upper neighbour is read.
    assert document["cache_bytes_per_row"] == 9 * (2 * 2 * 16 * 4 + 8)
    assert document["cache_bytes_per_position"] == 2 * 2 * 16 * 4 + 8
    weights = document["files"]["graphs/weights.safetensors"]
    assert weights["size"] == (tiny_bundle / "graphs/weights.safetensors").stat().st_size


def test_info_as_text(cli: Cli, tiny_bundle: Path) -> None:
    result = cli("info", tiny_bundle)
    for word in ("tiny", "3 levels", "step_filtered", "weights.safetensors", "onnxruntime"):
        assert word in result.out


@pytest.mark.parametrize("backends", [["onnxruntime"], ["onnxruntime", "torch"]])
def test_verify(cli: Cli, tiny_bundle: Path, tmp_path: Path, backends: list[str]) -> None:
    options = [option for name in backends for option in ("--backend", name)]
    out = tmp_path / "report.json"
    result = cli("verify", tiny_bundle, *options, "--threads", 1, "--json", "-o", out)
    assert result.code == 0, result.err
    document = json.loads(result.out)
    assert set(document) >= PARITY
    assert document["passed"] is True
    assert [report["backend"] for report in document["backends"]] == backends
    assert all(set(report) >= PARITY for report in document["backends"])
    worst = max(report["max_abs_nats"] for report in document["backends"])
    assert 0 < document["max_abs_nats"] == worst
    assert json.loads(out.read_text()) == document


def test_verify_reports_the_worst_backend(tiny_bundle: Path) -> None:
    good = Engine.load(tiny_bundle, threads=1).verify()
    events = replace(good.sampled, mean_signed_nats=-5.0, unexplained=3, max_kl=float("nan"))
    bad = replace(good, backend="torch", sampled=events)
    for reports in ([good, bad], [bad, good]):
        document = json.loads(json_text(parity_document(str(tiny_bundle), reports)))
        assert document["passed"] is False
        assert document["mean_signed_nats"] == -5.0
        assert document["unexplained"] == 3
        assert document["max_kl"] is None


def bench_with(rows: list[Any], monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Replace the measurement by rows; return the list in which its calls are recorded."""
    calls: list[dict[str, Any]] = []

    def measured(path: Path, backend: str, batches: Any, **options: Any) -> list[Any]:
        calls.append({"path": path, "backend": backend, "batches": tuple(batches), **options})
        return rows

    monkeypatch.setattr("ancestral.engine.measure.measure_engine", measured)
    return calls


def test_bench(
    cli: Cli, tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = bench_with([ROW], monkeypatch)
    out = tmp_path / "rows.jsonl"
    options = ["--backend", "onnxruntime", "--batch", "2,4", "--threads", 1, "-o", out]
    for _ in range(2):
        result = cli("bench", tiny_bundle, *options, "--json")
    assert result.code == 0, result.err
    assert calls[0]["batches"] == (2, 4)
    assert calls[0]["threads"] == 1
    document = json.loads(result.out)
    assert document["passed"] is True
    assert document["rows"] == [ROW.to_json()]
    assert [json.loads(line) for line in out.read_text().splitlines()] == [ROW.to_json()] * 2
    shown = cli("bench", tiny_bundle, "--backend", "onnxruntime")
    assert "1.0e-06" in shown.out


def test_bench_of_latents(cli: Cli, tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bench_with([LATENT_ROW], monkeypatch)
    result = cli("bench", tiny_bundle, "--backend", "torch", "--json")
    assert json.loads(result.out)["rows"] == [LATENT_ROW.to_json()]
    shown = cli("bench", tiny_bundle, "--backend", "torch").out
    for word in ("encode ms p50", "1.500", "bounds/s", "12.5", "1.0e-06"):
        assert word in shown


def test_bench_without_parity_fails(
    cli: Cli, tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench_with([ROW, replace(ROW, passed=False)], monkeypatch)
    result = cli("bench", tiny_bundle, "--backend", "onnxruntime", "--json")
    assert result.code == 1
    assert json.loads(result.out)["passed"] is False


PROBES = {
    "fine": (
        """print('{"devices": ["cpu"], "remark": ""}')""",
        True,
        "",
    ),
    "old": (
        """print('{"devices": [], "remark": "needs onnxruntime 1.25 or newer, got 1.9.0"}')""",
        False,
        "1.25 or newer, got 1.9.0",
    ),
    "crashes": ("import os; os.abort()", False, "does not load"),
    "raises": ("raise ImportError('libx.so: not found')", False, "libx.so: not found"),
}


@pytest.mark.parametrize("probe", PROBES)
def test_doctor(cli: Cli, monkeypatch: pytest.MonkeyPatch, probe: str) -> None:
    code, runs, reason = PROBES[probe]
    monkeypatch.setattr(doctor_module, "_PROBE", code)
    result = cli("doctor", "--json")
    assert result.code == 0, result.err
    document = json.loads(result.out)
    assert document["packages"]["numpy"] == np.__version__
    assert document["cpus"] >= 1
    assert {each["name"] for each in document["backends"]} == set(BACKENDS)
    for each in document["backends"]:
        assert each["runs"] is runs
        assert reason in each["reason"]


def test_measured_threads(
    cli: Cli, tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`--threads measure` keeps the number that it found, and `doctor` shows it."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(doctor_module, "_PROBE", PROBES["crashes"][0])
    assert json.loads(cli("doctor", "--json").out)["threads"] == []
    options = ("-n", 2, "--label", "0", "-o", tmp_path / "x.npz", "--threads")
    assert cli("sample", tiny_bundle, *options, "measure").code == 0
    [found] = json.loads(cli("doctor", "--json").out)["threads"]
    assert (found["batch"], found["bundle"]) == (2, Bundle.open(tiny_bundle).manifest.sha256)
    assert str(found["threads"]) in found["step_ms"]
    assert found["bundle"][:12] in cli("doctor").out
    refused = cli("sample", tiny_bundle, *options, "fast")
    assert refused.code == 2
    assert "expected an integer or measure, got 'fast'" in " ".join(refused.err.split())


@pytest.mark.slow
def test_doctor_finds_the_installed_onnxruntime(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    result = cli("doctor", "--json")
    found = {each["name"]: each for each in json.loads(result.out)["backends"]}
    assert found["onnxruntime"]["runs"] is True
    assert "cpu" in found["onnxruntime"]["devices"]
    assert found["torch"]["runs"] is False
    assert "pip install 'ancestral[train]'" in found["torch"]["reason"]
    assert "ancestral[train]" in cli("doctor").out


@pytest.mark.slow
def test_doctor_of_kernels_without_a_gpu(cli: Cli) -> None:
    pytest.importorskip("triton")
    found = {each["name"]: each for each in json.loads(cli("doctor", "--json").out)["backends"]}
    if not torch.cuda.is_available():
        assert found["triton"]["runs"] is False
        assert found["triton"]["reason"].startswith("needs a CUDA GPU of compute capability 8.0")
        assert found["tensorrt"]["runs"] is False
        if importlib.util.find_spec("tensorrt_rtx"):
            reason = r"needs a supported GPU \(.*tensorrt_rtx .* serves sm_75, .*\), got no GPU"
            assert re.match(reason, found["tensorrt"]["reason"])


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (float("nan"), "null"),
        ({"a": [float("inf"), 1.5]}, '{"a":[null,1.5]}'),
        ((1, True, None, "NaN"), '[1,true,null,"NaN"]'),
    ],
)
def test_json_has_no_infinities(value: object, text: str) -> None:
    assert json_text(value).replace("\n", "").replace(" ", "") == text
