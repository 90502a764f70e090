"""The finder of first differences: sound graphs agree, and a planted fault is named."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import ml_dtypes
import numpy as np
import onnx
import pytest

from ancestral.bundles.bundle import Bundle
from ancestral.errors import InvalidInput
from ancestral.export.operators import Form
from ancestral.export.recast import recast
from ancestral.export.trace.comparison import compare, compared
from ancestral.export.trace.finder import beside_run, beside_torch
from ancestral.export.trace.graph import Graph
from ancestral.export.trace.known_inputs import known_inputs
from ancestral.export.trace.onnx_reference import ONNX_REFERENCE
from ancestral.export.trace.onnxruntime import onnxruntime
from ancestral.export.trace.run import Run, Runtime, Trace, load_run, save_run
from ancestral.export.trace.torch import TorchReference
from tests.latent_toys import LATENT_TOYS
from tests.tamper import edited
from tests.toys import TOYS

pytestmark = pytest.mark.slow

Bundles = Callable[[str], Path]

NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("got", "expected", "kind", "place"),
    [
        ([1.0, NAN], [1.0, 2.0], "value", (1,)),
        ([1.0, 2.0], [1.0, NAN], "value", (1,)),
        ([1.0, INF], [1.0, -INF], "value", (1,)),
        ([1.0, 1e-3, 2.0], [1.0, 1.1e-3, 2.0], "value", (1,)),
        ([[1.0], [2.0]], [1.0, 2.0], "shape", ()),
        ([1, 2], [1.0, 2.0], "type", ()),
        ([1, 2], [True, True], "type", ()),
        ([3, 7], [3, 8], "value", (1,)),
        ([True, False], [True, True], "value", (1,)),
        ([1e30, 0.0], [1e30, 1.0], None, None),
        ([1.0, NAN, INF], [1.0, NAN, INF], None, None),
        ([1.0, 1e-7], [1.0, 0.0], None, None),
        ([1e-45], [0.0], None, None),
    ],
)
def test_compare(got: list, expected: list, kind: str | None, place: tuple | None) -> None:
    """Differences are relative to the largest number; NaN and infinities equal only themselves."""
    arrays = [np.asarray(each) for each in (got, expected)]
    near, exact = (a.astype(np.float32) if a.dtype.kind == "f" else a for a in arrays)
    mismatch = compare(near, exact, 1e-6).mismatch
    assert (mismatch and mismatch.kind, mismatch and mismatch.place) == (kind, place)


@pytest.mark.parametrize(
    ("dtype", "error", "agrees"),
    [
        (np.float32, 1e-6, True),
        (np.float32, 1e-5, False),
        (np.float16, 1e-5, True),
        (np.float16, 1e-2, False),
        (ml_dtypes.bfloat16, 1e-2, True),
        (ml_dtypes.bfloat16, 1e-1, False),
    ],
)
def test_limit_is_of_the_coarser_type(dtype: type, error: float, agrees: bool) -> None:
    exact = np.linspace(0.5, 1.0, 7, dtype=np.float32)
    got = (exact * (1 + error)).astype(dtype)
    node = onnx.helper.make_node("Mul", ["x"], ["y"])
    for pair in ((got, exact), (exact, got)):
        values = {"x": exact, "y": pair[0]}
        found = compared(*pair, [node], values)
        assert (found.mismatch is None) is agrees


def test_limit_is_of_what_cancelled() -> None:
    """The error of 1e4 - 1e4 may be that of 1e4; a product has no such allowance."""
    got, exact = np.full(4, 1e-3, np.float32), np.zeros(4, np.float32)
    values = {"a": np.full(4, 1e4, np.float32), "y": got}
    for op_type, agrees in (("Sub", True), ("Mul", False)):
        node = onnx.helper.make_node(op_type, ["a", "a"], ["y"])
        found = compared(got, exact, [node], values)
        assert (found.mismatch is None) is agrees


Inputs = dict[str, np.ndarray]
Torch = tuple[TorchReference, Inputs]
"""PyTorch with the toy `tiny`, and inputs of its step."""


SOME = ("gru", "convolved")


def side(
    bundle: Bundle, name: str, runtime: Runtime, inputs: Inputs, form: Form | None = None
) -> Trace:
    """Return the trace of a graph on a runtime, in the runtime's form or in another."""
    return runtime.trace(Graph.read(bundle, name, form or runtime.form), inputs)


@pytest.mark.parametrize(
    "toy",
    [
        pytest.param(toy, marks=[] if toy in SOME else [pytest.mark.slow])
        for toy in (*TOYS, *LATENT_TOYS)
    ],
)
def test_onnxruntime_and_the_standard_agree(bundles: Bundles, toy: str) -> None:
    """Two runs of each graph agree on every tensor; each computes from its own tensors."""
    bundle = Bundle.open(bundles(toy))
    model = TorchReference(bundle).model
    for name in bundle.manifest.graphs:
        inputs = known_inputs(bundle, model, name)
        runtimes = (onnxruntime(threads=1), ONNX_REFERENCE)
        report = beside_run(*(side(bundle, name, each, inputs, "portable") for each in runtimes))
        assert report.passed, report.first
        assert not report.unmatched
        assert len(report.excused) < 0.2 * report.compared, report.excused


@pytest.mark.slow
@pytest.mark.parametrize("toy", [*TOYS, *LATENT_TOYS])
def test_runtimes_and_torch_agree(bundles: Bundles, toy: str) -> None:
    """Runtimes agree with PyTorch for the same inputs of each node, and in independent runs."""
    bundle = Bundle.open(bundles(toy))
    torch = TorchReference(bundle)
    for name in bundle.manifest.graphs:
        other = side(bundle, name, torch.runtime, known_inputs(bundle, torch.model, name))
        for runtime in (onnxruntime(threads=1), ONNX_REFERENCE):
            trace = side(bundle, name, runtime, dict(other.inputs))
            report = beside_torch(trace, torch)
            assert report.passed, report.first
            assert report.largest_share < 0.5
            report = beside_run(trace, other)
            assert report.passed, report.first


@pytest.fixture(scope="module")
def torch_step(bundles: Bundles) -> Torch:
    """Return PyTorch and the inputs of the step, which is traced once for all tests."""
    bundle = Bundle.open(bundles("tiny"))
    torch = TorchReference(bundle)
    return torch, known_inputs(bundle, torch.model, "step")


Fault = Callable[[onnx.GraphProto], str]
"""A function that changes a graph, and returns the name of the node that is now wrong."""


def nth(graph: onnx.GraphProto, op_type: str, n: int) -> onnx.NodeProto:
    """Return the nth node of a type, in order; GroupQueryAttention is an Attention."""
    return [node for node in graph.node if node.op_type.endswith(op_type)][n]


def attribute(op_type: str, n: int, **values: object) -> Fault:
    """Return a fault that changes attributes of a node."""

    def fault(graph: onnx.GraphProto) -> str:
        node = nth(graph, op_type, n)
        kept = [each for each in node.attribute if each.name not in values]
        del node.attribute[:]
        made = [onnx.helper.make_attribute(name, value) for name, value in values.items()]
        node.attribute.extend([*kept, *made])
        return node.name

    return fault


def operator(op_type: str, n: int, other: str) -> Fault:
    """Return a fault that changes the operator of a node."""

    def fault(graph: onnx.GraphProto) -> str:
        node = nth(graph, op_type, n)
        node.op_type = other
        return node.name

    return fault


def weight(name: str, value: float) -> Fault:
    """Return a fault that changes the second number of a small weight, in the graph's copy."""

    def fault(graph: onnx.GraphProto) -> str:
        tensor = next(each for each in graph.initializer if each.name.endswith(name))
        array = onnx.numpy_helper.to_array(tensor).copy()
        array[1] = value
        tensor.CopyFrom(onnx.numpy_helper.from_array(array, tensor.name))
        return next(node.name for node in graph.node if tensor.name in node.input)

    return fault


def offset(name: str) -> Fault:
    """Return a fault that reads a large weight from 16 numbers further in the file."""

    def fault(graph: onnx.GraphProto) -> str:
        tensor = next(each for each in graph.initializer if each.name.endswith(name))
        entry = next(each for each in tensor.external_data if each.key == "offset")
        entry.value = str(int(entry.value) + 64)
        return next(node.name for node in graph.node if tensor.name in node.input)

    return fault


FAULTS: dict[str, Fault] = {
    "epsilon": attribute("LayerNormalization", 3, epsilon=1e-4),
    "approximation": attribute("Gelu", 1, approximate="tanh"),
    "scale of attention": attribute("Attention", 1, scale=0.3),
    "operator": operator("Exp", 0, "Sigmoid"),
    "integer": operator("Sub", 0, "Max"),
    "boolean": operator("Less", 0, "GreaterOrEqual"),
    "weight": weight("blocks.1.up.bias", 0.1),
    "nan": weight("blocks.0.out.bias", NAN),
    "large weight": offset("blocks.1.qkv.weight"),
}


def planted(bundle: Path, folder: Path, fault: Fault, form: str) -> tuple[Bundle, str]:
    """Return a bundle with a fault in one form of its step, and the name of the wrong node."""
    names: list[str] = []

    def edit(graph: onnx.GraphProto) -> None:
        names.append(fault(graph))

    file = "step" if form == "portable" else f"step.{form}"
    return Bundle.open(edited(bundle, folder, edit, file)), names[0]


@pytest.mark.parametrize("name", FAULTS)
def test_planted_fault_is_named(
    bundles: Bundles, torch_step: Torch, tmp_path: Path, name: str
) -> None:
    """The finder names the wrong node, and no other."""
    bundle, node = planted(bundles("tiny"), tmp_path, FAULTS[name], "onnxruntime")
    torch, inputs = torch_step
    found = side(bundle, "step", onnxruntime(threads=1), inputs)
    report = beside_torch(found, torch)
    assert [difference.node for difference in report.differences] == [node]


MASK = operator("LessOrEqual", 1, "Less")


def test_fault_of_the_graph_in_a_node_that_torch_lacks(
    bundles: Bundles, torch_step: Torch, tmp_path: Path
) -> None:
    """PyTorch has no mask: the first difference is at the attention that reads the wrong mask."""
    bundle, node = planted(bundles("tiny"), tmp_path, MASK, "portable")
    torch, inputs = torch_step
    found = side(bundle, "step", ONNX_REFERENCE, inputs)
    report = beside_torch(found, torch)
    assert report.first is not None
    assert report.first.op_type == "Attention"
    assert node in report.first.through
    assert "the graph differs from the program" in report.first.verdict
    assert len(report.differences) == 1


def test_fault_of_the_runtime_in_a_node_that_torch_lacks(
    bundles: Bundles, torch_step: Torch, tmp_path: Path
) -> None:
    """A runtime that misreads the mask of a sound graph is found to be wrong."""
    sound = Bundle.open(bundles("tiny"))
    bundle, node = planted(sound.path, tmp_path, MASK, "portable")
    torch, inputs = torch_step
    misread = side(bundle, "step", ONNX_REFERENCE, inputs)
    misread = replace(misread, graph=Graph.read(sound, "step", "portable"))
    first = beside_torch(misread, torch).first
    assert first is not None
    assert first.node == node
    assert "the runtime is wrong" in first.verdict


LARGE = {
    "epsilon": attribute("LayerNormalization", 3, epsilon=0.1),
    "mask": MASK,
    "integer": FAULTS["integer"],
    "nan": FAULTS["nan"],
}
"""Faults larger than the errors that two runs may accumulate."""


@pytest.mark.parametrize("name", LARGE)
def test_fault_of_one_of_two_runs(
    bundles: Bundles, torch_step: Torch, tmp_path: Path, name: str
) -> None:
    """Either run may have the fault; nodes after it may differ, none before it does."""
    sound = Bundle.open(bundles("tiny"))
    bundle, node = planted(sound.path, tmp_path, LARGE[name], "portable")
    inputs = torch_step[1]
    right = side(sound, "step", ONNX_REFERENCE, inputs)
    misread = replace(side(bundle, "step", ONNX_REFERENCE, inputs), graph=right.graph)
    for report, whose in (
        (beside_run(misread, right), "onnx.reference gives a different result for the inputs of"),
        (beside_run(right, misread), "for the other run it does not"),
    ):
        assert [difference.node for difference in report.differences] == [node]
        assert whose in report.differences[0].verdict
        assert report.following


@pytest.mark.slow
def test_sixteen_bits(bundles: Bundles, tmp_path: Path) -> None:
    """Tensors in bfloat16 have limits of bfloat16; a fault of 16 of its epsilons is named."""
    bundle = Bundle.open(recast(bundles("gru"), tmp_path / "narrow", "bfloat16"))
    torch = TorchReference(bundle)
    inputs = known_inputs(bundle, torch.model, "prefill")
    found = side(bundle, "prefill", ONNX_REFERENCE, inputs)
    report = beside_torch(found, torch)
    assert report.passed, report.first
    narrow = [a for a in found.tensors.values() if a.dtype == ml_dtypes.bfloat16]
    assert len(narrow) > 0.5 * report.compared
    cache = (found.tensors["h_0_next"] * 1.125).astype(ml_dtypes.bfloat16)
    trace = replace(found, tensors={**found.tensors, "h_0_next": cache})
    report = beside_torch(trace, torch)
    assert [each.op_type for each in report.differences] == ["Cast"]


def test_fault_of_an_optimisation(bundles: Bundles, torch_step: Torch) -> None:
    """Every node is right, but the optimised graph, which users run, gives another result."""
    torch, inputs = torch_step
    found = side(Bundle.open(bundles("tiny")), "step", onnxruntime(threads=1), inputs)
    assert beside_torch(found, torch).passed
    log_p = found.outputs["log_p_next"] + np.float32(1e-3)
    trace = replace(found, outputs={**found.outputs, "log_p_next": log_p})
    report = beside_torch(trace, torch)
    assert not report.passed
    assert not report.differences
    assert report.first is not None
    assert report.first.tensor == "log_p_next"
    assert "an optimisation is wrong" in report.first.verdict


def test_run_file(bundles: Bundles, torch_step: Torch, tmp_path: Path) -> None:
    """A run is read as it was written, in bfloat16 too, and agrees with itself exactly."""
    bundle = Bundle.open(bundles("tiny"))
    found = side(bundle, "step", onnxruntime(threads=1), torch_step[1])
    narrow = found.tensors["log_p_next"].astype(ml_dtypes.bfloat16)
    trace = replace(found, tensors={**found.tensors, "log_p_next": narrow})
    run = Run("onnxruntime 1 cpu", {"step": trace})
    save_run(run, tmp_path / "run.safetensors")
    got = load_run(tmp_path / "run.safetensors", bundle)
    assert (got.title, got.traces["step"].graph) == (run.title, trace.graph)
    report = beside_run(got.traces["step"], trace)
    assert report.passed
    assert report.largest_share == 0.0
    assert got.traces["step"].tensors["log_p_next"].dtype == ml_dtypes.bfloat16


def test_runs_of_other_inputs_or_graphs_are_refused(
    bundles: Bundles, torch_step: Torch, tmp_path: Path
) -> None:
    bundle = Bundle.open(bundles("tiny"))
    inputs = torch_step[1]
    found = side(bundle, "step", ONNX_REFERENCE, inputs)
    other = side(bundle, "step", ONNX_REFERENCE, inputs | {"u": inputs["u"] / 2})
    with pytest.raises(InvalidInput, match="they differ in u;"):
        beside_run(found, other)
    changed, _ = planted(bundle.path, tmp_path, MASK, "portable")
    other = side(changed, "step", ONNX_REFERENCE, inputs)
    save_run(Run("onnx", {"step": other}), tmp_path / "run.safetensors")
    with pytest.raises(InvalidInput, match="SHA-256 of portable"):
        load_run(tmp_path / "run.safetensors", bundle)


def test_step_graphs_are_traced_apart(bundles: Bundles, torch_step: Torch) -> None:
    """The graphs of a step have the same outputs; a reference of one is not that of another."""
    bundle, (torch, given) = Bundle.open(bundles("tiny")), torch_step
    side(bundle, "step", torch.runtime, given)
    inputs = known_inputs(bundle, torch.model, "step_filtered")
    trace = side(bundle, "step_filtered", onnxruntime(threads=1), inputs)
    report = beside_torch(trace, torch)
    assert report.passed, report.first
    assert report.compared > 50


def test_rows_of_a_step_differ_in_position(bundles: Bundles, torch_step: Torch) -> None:
    """Rows are at the start, in the middle and at the end; one draws, the others are observed."""
    inputs = torch_step[1]
    assert inputs["position"].tolist() == [0, 4, 8]
    assert (inputs["observed"] >= 0).all(axis=1).tolist() == [True, False, True]
    filled = np.abs(inputs["k_0"]).sum(axis=(1, 3)) > 0
    assert filled.sum(axis=1).tolist() == [0, 4, 8]
