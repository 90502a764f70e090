"""A handmade graph with one Attention node."""

from typing import Any

import onnx
import onnx_ir


def attention(
    width: int = 8, transposed: bool = True, mask: bool = False, **attributes: Any
) -> onnx_ir.Model:
    """Return a graph as the exporter writes it, with two heads of queries for one of keys.

    Args:
        width: size of a head.
        transposed: whether a Transpose of heads and positions follows, as in our models.
        mask: whether the node has a mask.
        attributes: attributes of the node.
    """
    make, kind = onnx.helper.make_tensor_value_info, onnx.TensorProto.FLOAT
    inputs = [make("q", kind, ["b", 2, "t", width])]
    inputs += [make(name, kind, ["b", 1, "t", width]) for name in "kv"]
    inputs += [make("mask", kind, ["t", "t"])] if mask else []
    names = [value.name for value in inputs]
    found = [onnx.helper.make_node("Attention", names, ["a"], name="attention", **attributes)]
    if transposed:
        found += [onnx.helper.make_node("Transpose", ["a"], ["x"], perm=[0, 2, 1, 3])]
    found += [onnx.helper.make_node("Neg", ["x" if transposed else "a"], ["y"])]
    y = make("y", kind, ["b", "t", 2, width] if transposed else ["b", 2, "t", width])
    graph = onnx.helper.make_graph(
        found, "graph", inputs, [y], value_info=[make("a", kind, ["b", 2, "t", width])]
    )
    opsets = [onnx.helper.make_opsetid("", 24)]
    return onnx_ir.from_proto(onnx.helper.make_model(graph, opset_imports=opsets))
