"""Functions that recognise the nodes of a pattern in a graph."""

from typing import Any

import onnx_ir
from numpy.typing import NDArray


def made_by(value: onnx_ir.Value | None, op_type: str) -> onnx_ir.Node | None:
    """Return the node that makes a value, if it is of this type."""
    node = None if value is None else value.producer()
    return node if node is not None and node.op_type == op_type else None


def constant(value: onnx_ir.Value | None) -> NDArray[Any] | None:
    """Return a constant of at most one element as an array, or None."""
    tensor = None if value is None else onnx_ir.convenience.get_const_tensor(value)
    return tensor.numpy() if tensor is not None and tensor.size <= 1 else None


def equals(value: onnx_ir.Value | None, number: int | float, rank: int | None = None) -> bool:
    """Return whether a value is a constant of one element, and of this rank if it is given."""
    found = constant(value)
    if found is None or found.size != 1:
        return False
    return bool(found.item() == number) and (rank is None or found.ndim == rank)


def remove_unread(graph: onnx_ir.Graph) -> None:
    """Remove the nodes whose results nothing reads."""
    for node in reversed(list(graph)):
        if not any(value.uses() or value.is_graph_output() for value in node.outputs):
            graph.remove(node, safe=True)
