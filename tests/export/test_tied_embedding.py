"""A tied table is in memory once, and its products stay the same."""

from pathlib import Path

import numpy as np
import onnx
import onnx_ir
import onnxruntime as ort
import pytest

from ancestral.bundles.onnx_file import read_onnx
from ancestral.errors import ExportError
from ancestral.export.passes.tied_embedding import multiply_in_place
from ancestral.export.weights import Slot, point_into, to_bytes
from tests.triton_kernels.single import ROUNDING


def tied(rows: int, width: int, folder: Path) -> onnx_ir.Model:
    """Return a graph with a tied table, as external data after 40 other bytes."""
    values = np.random.default_rng(0).normal(size=(rows, width)).astype(np.float32)
    (folder / "weights").write_bytes(bytes(40) + values.tobytes())
    make = onnx.helper
    floats, integers = onnx.TensorProto.FLOAT, onnx.TensorProto.INT64
    graph = make.make_graph(
        [
            make.make_node("Gather", ["table", "token"], ["h"]),
            make.make_node("Gemm", ["h", "table"], ["head"], name="head", transB=1),
            make.make_node("Identity", ["head"], ["logits"]),
        ],
        "tied",
        [make.make_tensor_value_info("token", integers, ["b"])],
        [make.make_tensor_value_info("logits", floats, ["b", rows])],
        initializer=[make.make_tensor("table", floats, [rows, width], values.tobytes(), raw=True)],
    )
    opsets = [make.make_opsetid("", 24)]
    model = onnx_ir.from_proto(make.make_model(graph, ir_version=10, opset_imports=opsets))
    slot = Slot(onnx_ir.DataType.FLOAT, (rows, width), 40, values.nbytes)
    point_into(model.graph, {"table": slot}, "weights")
    return model


@pytest.mark.parametrize("rows", [1, 2, 7, 100])
def test_the_product_is_the_same(tmp_path: Path, rows: int) -> None:
    """The product is the same for one row and for many, without a further input."""
    model = tied(100, 30, tmp_path)
    (tmp_path / "before.onnx").write_bytes(to_bytes(model))
    multiply_in_place(model.graph, least=100 * 30 * 4)
    (tmp_path / "after.onnx").write_bytes(to_bytes(model))
    onnx.checker.check_model(tmp_path / "after.onnx", full_check=True)
    before, after = (
        ort.InferenceSession(tmp_path / f"{name}.onnx").run(["logits"], {"token": np.arange(rows)})[
            0
        ]
        for name in ("before", "after")
    )
    assert before.shape == after.shape == (rows, 100)
    # The products of 30 terms are the same, but may be summed in another order.
    assert np.abs(before - after).max() < ROUNDING * np.abs(before).max()


def test_the_table_is_not_packed(tmp_path: Path) -> None:
    """In ONNX Runtime's optimised graph, no product has a constant as its right factor."""
    model = tied(100, 30, tmp_path)
    multiply_in_place(model.graph, least=1)
    (tmp_path / "tied.onnx").write_bytes(to_bytes(model))
    options = ort.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    session = ort.InferenceSession(tmp_path / "tied.onnx", options)
    assert [each.name for each in session.get_overridable_initializers()] == ["table"]
    graph = onnx.load(tmp_path / "optimised.onnx", load_external_data=False).graph
    choice = next(node for node in graph.node if node.op_type == "If")
    right = {
        attribute.name: [node.input[1] for node in attribute.g.node if node.op_type == "Gemm"]
        for attribute in choice.attribute
    }
    assert right == {"then_branch": ["table"], "else_branch": ["h"]}


def test_small_and_untied_tables_are_unchanged(tmp_path: Path) -> None:
    model = tied(100, 30, tmp_path)
    multiply_in_place(model.graph, least=100 * 30 * 4 + 1)
    model.graph[0].replace_input_with(0, model.graph.inputs[0])
    multiply_in_place(model.graph, least=1)
    assert [node.op_type for node in model.graph] == ["Gather", "Gemm", "Identity"]


def test_another_product_is_refused(tmp_path: Path) -> None:
    model = tied(100, 30, tmp_path)
    model.graph[1].attributes.add(onnx_ir.AttrFloat32("alpha", 2.0))
    with pytest.raises(ExportError, match=r"head: expected x W\^T with a tied table"):
        multiply_in_place(model.graph, least=1)


def test_a_reader_sees_no_further_input(tmp_path: Path) -> None:
    """A bundle is compared with its signatures by the inputs that have no default."""
    model = tied(100, 30, tmp_path)
    multiply_in_place(model.graph, least=1)
    content = to_bytes(model)
    names = [each.name for each in onnx.load_model_from_string(content).graph.input]
    assert names == ["token", "table"]
    assert [each.name for each in read_onnx(content).inputs] == ["token"]
