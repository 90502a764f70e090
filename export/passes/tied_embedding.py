"""A table that is looked up and multiplied with, in memory once under ONNX Runtime.

ONNX Runtime packs a copy of what a matrix product takes from a constant on the right, and keeps the
original where something else reads it: GPT-2's tied table of 154 MB twice. Written as W x^T the
product reads W as it is, as fast as a packed copy where x has eight rows or more. A single row goes
another way, as x W^T from an initializer that is an input too: it could be overridden, so that it
is no constant to pack, and for one row there is nothing to gain by packing (docs/decisions/0004).
"""

import numpy as np
import onnx_ir
from onnx_ir.passes.common import RemoveUnusedNodesPass

from ancestral.errors import ExportError

LEAST = 2**25
"""Size of the smallest table that is worth it, in bytes."""


def multiply_in_place(graph: onnx_ir.Graph, least: int = LEAST) -> None:
    """Let products with a shared table read it where the look-up does.

    Args:
        graph: in the form for ONNX Runtime.
        least: size of the smallest table that is changed, in bytes.

    Raises:
        ExportError: a product is not x W^T alone.
    """
    for table in list(graph.initializers.values()):
        users = [node for node, _ in table.uses()]
        products = [node for node in users if node.op_type == "Gemm" and node.inputs[1] is table]
        looked_up = any(node.op_type == "Gather" for node in users)
        if not products or not looked_up or table.const_value is None:
            continue
        if table.const_value.nbytes < least:
            continue
        graph.inputs.append(table)
        for product in products:
            _replace(graph, product, table)


def multiply_as_exported(model: onnx_ir.Model) -> None:
    """Undo `multiply_in_place`: each choice by the number of rows is x W^T again."""
    graph = model.graph
    for choice in [node for node in graph if node.op_type == "If"]:
        (row,) = choice.attributes["then_branch"].as_graph()
        x, table = row.inputs
        product = onnx_ir.node("Gemm", [x, table], {"transB": 1}, name=choice.name)
        old, new = choice.outputs[0], product.outputs[0]
        new.name, new.shape, new.type = old.name, old.shape, old.type
        graph.insert_before(choice, product)
        old.replace_all_uses_with(new, replace_graph_outputs=True)
        graph.remove(choice, safe=True)
        graph.inputs[:] = [value for value in graph.inputs if value is not table]
    RemoveUnusedNodesPass()(model)


def _replace(graph: onnx_ir.Graph, product: onnx_ir.Node, table: onnx_ir.Value) -> None:
    """x W^T becomes a choice by the number of rows of x."""
    x = product.inputs[0]
    plain = {"transA": 0, "transB": 1, "alpha": 1.0, "beta": 1.0}
    got = {name: attribute.value for name, attribute in product.attributes.items()}
    if x is None or len(product.inputs) > 2 or plain | got != plain:
        raise ExportError(f"{product.name}: expected x W^T of a tied table, got {product}")
    name, output = product.name or "tied", product.outputs[0]
    rows = onnx_ir.node("Shape", [x], {"start": 0, "end": 1}, name=f"{name}.rows")
    one = onnx_ir.node("Constant", [], {"value": _ints(1)}, name=f"{name}.1")
    single = onnx_ir.node("Equal", [rows.outputs[0], one.outputs[0]], name=f"{name}.single")
    row = onnx_ir.node("Gemm", [x, table], {"transB": 1}, name=f"{name}.row")
    branches = {"then_branch": _branch(f"{name}.one", [row]), "else_branch": _rows(name, x, table)}
    choice = onnx_ir.node("If", [single.outputs[0]], branches, name=name)
    choice.outputs[0].shape, choice.outputs[0].type = output.shape, output.type
    for node in (rows, one, single, choice):
        node.outputs[0].name = f"{node.name}.y"
        graph.insert_before(product, node)
    output.replace_all_uses_with(choice.outputs[0])
    graph.remove(product, safe=True)


def _rows(name: str, x: onnx_ir.Value, table: onnx_ir.Value) -> onnx_ir.Graph:
    """(W x^T)^T; with a third axis between, or ONNX Runtime would turn it into x W^T again."""
    axis = onnx_ir.node("Constant", [], {"value": _ints(1)}, name=f"{name}.axis")
    last = onnx_ir.node("Constant", [], {"value": _ints(2)}, name=f"{name}.last")
    product = onnx_ir.node("Gemm", [table, x], {"transB": 1}, name=f"{name}.product")
    apart = onnx_ir.node("Unsqueeze", [product.outputs[0], axis.outputs[0]], name=f"{name}.apart")
    turned = onnx_ir.node("Transpose", [apart.outputs[0]], {"perm": [2, 0, 1]}, name=f"{name}.turn")
    flat = onnx_ir.node("Squeeze", [turned.outputs[0], last.outputs[0]], name=f"{name}.flat")
    return _branch(f"{name}.many", [axis, last, product, apart, turned, flat])


def _branch(name: str, nodes: list[onnx_ir.Node]) -> onnx_ir.Graph:
    """A graph without inputs; the last node gives its output."""
    for node in nodes:
        node.outputs[0].name = f"{node.name}.y"
    nodes[-1].outputs[0].type = onnx_ir.TensorType(onnx_ir.DataType.FLOAT)
    return onnx_ir.Graph([], [nodes[-1].outputs[0]], nodes=nodes, name=name)


def _ints(value: int) -> onnx_ir.TensorProtocol:
    return onnx_ir.tensor(np.array([value]))
