"""Keep a tied embedding table in memory once under ONNX Runtime.

This works around ONNX Runtime (1.31, CPU), which packs a copy of the constant on the right of a
matrix product, and also keeps the original if another node reads it. A tied table W, looked up by
Gather and multiplied as x W^T, is then in memory twice: 154 MB more for GPT-2, a peak of 1.36 times
weights and caches at batch 1 instead of 1.05.

The pass writes the product as (W x^T)^T, which reads W unpacked and is as fast from 8 rows on; 2 to
4 rows make a step 12 to 15% slower. A single row stays x W^T, but W becomes a graph input with a
default: an input can be overridden, so ONNX Runtime does not pack it, and one row gains nothing
from packing. The pass can go when ONNX Runtime shares one table between product and look-up
(docs/decisions/0004, docs/decisions/0022).
"""

import numpy as np
import onnx_ir
from onnx_ir.passes.common import RemoveUnusedNodesPass

from ancestral.errors import ExportError

LEAST = 2**25
"""Smallest table that the pass changes, in bytes (32 MiB)."""


def multiply_in_place(graph: onnx_ir.Graph, least: int = LEAST) -> None:
    """Make products with a tied table read it in place, without a packed copy.

    Args:
        graph: graph in the onnxruntime form, changed in place.
        least: size of the smallest table to change, in bytes.

    Raises:
        ExportError: a product with the table is not plain x W^T.
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
    """Undo `multiply_in_place`: turn each choice by the number of rows back into x W^T."""
    graph = model.graph
    for choice in [node for node in graph if node.op_type == "If"]:
        row = choice.attributes["then_branch"].as_graph()[0]
        if row.op_type != "Gemm":
            continue
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
    """Replace x W^T by an If: one form for a single row of x, another for several."""
    x = product.inputs[0]
    plain = {"transA": 0, "transB": 1, "alpha": 1.0, "beta": 1.0}
    got = {name: attribute.value for name, attribute in product.attributes.items()}
    if x is None or len(product.inputs) > 2 or plain | got != plain:
        raise ExportError(
            f"{product.name}: expected x W^T with a tied table, got {product.op_type} with "
            f"{got}; report it with the output of `ancestral doctor`"
        )
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
    """Return the branch for several rows, (W x^T)^T.

    The transposition is over three axes. ONNX Runtime (1.31) fuses a transposition of two axes into
    the product, which becomes x W^T again and packs W. The extra axis can go with the pass.
    """
    axis = onnx_ir.node("Constant", [], {"value": _ints(1)}, name=f"{name}.axis")
    last = onnx_ir.node("Constant", [], {"value": _ints(2)}, name=f"{name}.last")
    product = onnx_ir.node("Gemm", [table, x], {"transB": 1}, name=f"{name}.product")
    apart = onnx_ir.node("Unsqueeze", [product.outputs[0], axis.outputs[0]], name=f"{name}.apart")
    turned = onnx_ir.node("Transpose", [apart.outputs[0]], {"perm": [2, 0, 1]}, name=f"{name}.turn")
    flat = onnx_ir.node("Squeeze", [turned.outputs[0], last.outputs[0]], name=f"{name}.flat")
    return _branch(f"{name}.many", [axis, last, product, apart, turned, flat])


def _branch(name: str, nodes: list[onnx_ir.Node]) -> onnx_ir.Graph:
    """Return a graph without inputs, whose output is that of the last node."""
    for node in nodes:
        node.outputs[0].name = f"{node.name}.y"
    nodes[-1].outputs[0].type = onnx_ir.TensorType(onnx_ir.DataType.FLOAT)
    return onnx_ir.Graph([], [nodes[-1].outputs[0]], nodes=nodes, name=name)


def _ints(value: int) -> onnx_ir.TensorProtocol:
    return onnx_ir.tensor(np.array([value]))
