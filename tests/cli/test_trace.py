"""`ancestral verify --trace`: exit codes, the JSON document, saved runs and refusals."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from ancestral.bundles.bundle import Bundle
from ancestral.export.trace.run import Run, load_run, save_run

from .conftest import Bundles, Cli, Result, invoke, refused

Trace = Callable[..., Result]


@pytest.fixture
def trace(cli: Cli, bundles: Bundles) -> Trace:
    """Return a function that traces a graph which is quick to trace in PyTorch."""
    bundle = bundles("gru")
    return lambda *options: cli("verify", bundle, "--trace", "--graph", "prefill", *options)


@pytest.fixture(scope="module")
def saved(bundles: Bundles, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Result]:
    """Save a run of ONNX Runtime that was compared with PyTorch; return its file and result."""
    file = tmp_path_factory.mktemp("runs") / "run.safetensors"
    options = ["--trace", "--graph", "prefill", "--threads", 1, "--save", file]
    return file, invoke("verify", bundles("gru"), *options)


@pytest.fixture
def run(bundles: Bundles, run_file: Path) -> Run:
    """Return the saved run."""
    return load_run(run_file, Bundle.open(bundles("gru")))


@pytest.fixture
def run_file(saved: tuple[Path, Result]) -> Path:
    """Return the file of the saved run."""
    return saved[0]


def test_agrees_with_torch_and_is_saved(saved: tuple[Path, Result]) -> None:
    run_file, result = saved
    assert result.code == 0, result.err
    assert "prefill (onnxruntime)" in result.out
    assert "onnxruntime" in result.out
    assert "torch" in result.out
    assert str(run_file) in result.err


def test_saved_runs_are_compared(
    trace: Trace, bundles: Bundles, run_file: Path, tmp_path: Path
) -> None:
    """A new run agrees with a saved one; two saved runs are compared without running anything."""
    second = tmp_path / "second.safetensors"
    result = trace("--backend", "onnx", "--against", run_file, "--save", second, "--json")
    assert result.code == 0, result.err
    document = json.loads(result.out)
    assert document["passed"] is True
    assert document["runs"][0]["reference"].startswith("onnxruntime")
    graph = document["runs"][0]["graphs"][0]
    assert graph["agreed"] == graph["compared"] > 15
    again = load_run(second, Bundle.open(bundles("gru")))
    assert len(graph["unmatched"]) + graph["compared"] == sum(
        len(node.output) for node in again.traces["prefill"].graph.model.graph.node
    )
    assert trace("--against", run_file, "--against", second).code == 0


def test_difference_exits_with_1(trace: Trace, run: Run, run_file: Path, tmp_path: Path) -> None:
    """One changed number in one tensor of a saved run is found and its place reported."""
    found = run.traces["prefill"]
    node = next(node for node in found.graph.nodes if node.op_type == "GRU")
    tensors = {**found.tensors, node.output[0]: found.tensors[node.output[0]].copy()}
    tensors[node.output[0]].flat[3] += 0.5
    other = tmp_path / "other.safetensors"
    save_run(replace(run, traces={"prefill": replace(found, tensors=tensors)}), other)
    arguments = ["--against", run_file, "--against", other]
    result = trace(*arguments)
    assert result.code == 1
    assert f"{node.name} (GRU)" in result.err
    assert "0.5 apart" in result.err
    result = trace(*arguments, "--json", "-o", tmp_path / "report.json")
    document = json.loads(result.out)
    assert document == json.loads((tmp_path / "report.json").read_text())
    assert document["passed"] is False
    first = document["runs"][0]["graphs"][0]["first"]
    assert (first["node"], first["mismatch"]["count"]) == (node.name, 1)
    assert np.ravel_multi_index(first["mismatch"]["place"], tensors[node.output[0]].shape) == 3


def test_runs_without_a_tensor_in_common(
    trace: Trace, run: Run, run_file: Path, tmp_path: Path
) -> None:
    """A comparison of no tensors does not pass."""
    other = tmp_path / "other.safetensors"
    save_run(replace(run, traces={"prefill": replace(run.traces["prefill"], tensors={})}), other)
    result = trace("--against", run_file, "--against", other)
    assert result.code == 1
    assert "no tensor could be matched" in result.err


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--backend", "triton"], ["triton", "onnxruntime", "onnx"]),
        (["--backend", "torch"], ["torch", "--save", "--against"]),
        (["--backend", "onnx", "--backend", "onnxruntime", "--save", "x.safetensors"], ["--save"]),
        (["--backend", "onnx", "--device", "cuda"], ["--device: expected cpu", "onnx"]),
        (["--device", "tpu"], ["tpu"]),
        (["--device", "cuda"], ["cuda", "pip install"]),
        (["--threads", "0"], ["--threads"]),
        (["--threads", "measure"], ["--threads: expected a number with --trace", "'measure'"]),
        (["--dtype", "float16"], ["--dtype"]),
        (["--save", "run.npz"], ["--save", ".safetensors"]),
        (["--against", "nowhere.safetensors"], ["nowhere.safetensors", "verify --trace --save"]),
        (["--against", "a", "--against", "b", "--against", "c"], ["--against"]),
        (["--against", "a", "--against", "b", "--backend", "onnx"], ["--backend"]),
        (["--graph", "decode"], ["'decode'", "prefill"]),
    ],
    ids=" ".join,
)
def test_bad_options(trace: Trace, options: list[str], words: list[str]) -> None:
    refused(trace(*options), *words)


def test_options_that_need_trace(cli: Cli, bundles: Bundles) -> None:
    for option in (["--graph", "step"], ["--save", "a.safetensors"], ["--against", "a"]):
        refused(cli("verify", bundles("gru"), *option), "--trace")


def test_file_that_is_not_a_run(trace: Trace, tmp_path: Path) -> None:
    (tmp_path / "text").write_text("not a run")
    save_file({"x": np.zeros(3)}, tmp_path / "tensors.safetensors")
    for name in ("text", "tensors.safetensors"):
        refused(trace("--against", tmp_path / name), name, "verify --trace --save")


def test_run_of_another_bundle(cli: Cli, bundles: Bundles, run_file: Path) -> None:
    arguments = ["--trace", "--backend", "onnx", "--against", run_file]
    result = cli("verify", bundles("tiny"), *arguments)
    refused(result, "graph 'prefill': the saved run is of another bundle", "SHA-256 of")
    assert "not a saved run" not in result.err
    refused(cli("verify", bundles("gru"), *arguments, "--graph", "step"), "--against", "'step'")
