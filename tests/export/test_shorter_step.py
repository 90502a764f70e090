"""Shorter steps: how many nodes of a step are not its network, and the same bits without them."""

from typing import Any

import numpy as np
import onnx_ir
import pytest

from ancestral.export import graphs
from ancestral.export.lint import lint
from ancestral.export.passes.shorter_step import shorten
from ancestral.signature import GraphSignature
from tests.export.test_packed_attention import inputs_of, program_of, session

NETWORK = {"MatMul", "LayerNormalization", "SkipLayerNormalization", "GroupQueryAttention", "Gelu"}
MOST_OUTSIDE = 63
"""Most nodes of a step outside the network, with labels and values above; 12 read those two."""
ENDS = {"GatherND": 2, "Pow": 1, "ArgMax": 1, "CumSum": 2, "TensorScatter": 4}
"""Operators of the draw and the records, once for log p and once for log q; one more append."""


def outside(model: onnx_ir.Model) -> int:
    """Return the number of nodes that are not the network's; each MatMul here has a bias."""
    products = sum(node.op_type == "MatMul" for node in model.graph)
    return sum(node.op_type not in NETWORK for node in model.graph) - products


@pytest.fixture(scope="module")
def models() -> tuple[onnx_ir.Model, onnx_ir.Model, Any]:
    """Return a step as it is exported, as the exporter itself writes it, and its program."""
    program = program_of({"above": True})
    short = graphs.export_graph(program)["onnxruntime"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(graphs, "shorten", lambda graph: None)
        long = graphs.export_graph(program)["onnxruntime"]
    return short, long, program


def test_nodes_outside_the_network(models: tuple[onnx_ir.Model, onnx_ir.Model, Any]) -> None:
    """Nodes that were left out do not come back; without the pass the count is over the limit."""
    short, long, _ = models
    assert outside(short) <= MOST_OUTSIDE < outside(long)
    kinds = [node.op_type for node in short.graph]
    assert {name: kinds.count(name) for name in ENDS} == ENDS


def test_same_bits(models: tuple[onnx_ir.Model, onnx_ir.Model, Any]) -> None:
    """Every output has the bits of the longer graph: steps, a block, and rows that have ended."""
    short, long, program = models
    signature: GraphSignature = program.signature
    assert lint(short, "onnxruntime", signature) == []
    ours, theirs = session(short), session(long)
    for rows, block, position in ((3, 1, [0, 4, 12]), (2, 4, [0, 0]), (1, 3, [5]), (1, 1, [11])):
        given = inputs_of(program, rows, block, position)
        given["temperature"] = np.array([1, 0, 0.5], np.float32)[:rows]
        results = zip(ours.run(None, given), theirs.run(None, given), strict=True)
        for spec, (a, b) in zip(signature.outputs, results, strict=True):
            assert np.array_equal(a, b, equal_nan=True), spec.name


@pytest.mark.parametrize("fault", ["range from 1", "second column", "another block"])
def test_planted(models: tuple[onnx_ir.Model, onnx_ir.Model, Any], fault: str) -> None:
    """Nodes that are almost those of positions stay: a range from 1, another column or axis."""
    model = models[1].clone()
    graph = model.graph
    one = onnx_ir.Value(name="one", const_value=onnx_ir.tensor(np.array(1), name="one"))
    graph.initializers.add(one)
    match fault:
        case "range from 1":
            node = next(node for node in graph if node.op_type == "Range")
            node.replace_input_with(0, one)
        case "second column":
            node = next(
                node
                for node in graph
                if node.op_type == "Gather" and node.attributes.get_int("axis", 0) == 1
            )
            node.replace_input_with(1, one)
        case _:
            node = next(node for node in graph if node.op_type == "Range")
            squeeze = node.inputs[1].producer()
            rows = next(value for value in graph.inputs if value.name == "position")
            squeeze.inputs[0].producer().replace_input_with(0, rows)
    shorten(graph)
    assert node in list(graph)


def test_other_graphs_stay() -> None:
    """A graph without offsets, which may call something else a range, is not changed."""
    model = graphs.export_graph(program_of({}))["portable"]
    before = [node.op_type for node in model.graph]
    model.graph.inputs[0].name = "others"
    shorten(model.graph)
    assert [node.op_type for node in model.graph] == before
