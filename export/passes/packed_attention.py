"""Let GroupQueryAttention read queries, keys and values from the one product that made them.

A block computes them by one product and splits it. ONNX Runtime's operator takes the unsplit
result as its query, with key and value left out, and reads the parts where they are. That saves one
node in each layer, and a copy of the three parts. The results have the same bits.

The pass changes only an attention whose three inputs are the three results of one Split along the
last axis: where heads are normalised or rotated in between, the parts are other tensors. It can go
when the code of the model passes the product whole (docs/decisions/0022).
"""

import onnx_ir

_LAST_AXIS = (2, -1)
_ROWS = (0, 1)
"""Axes of a block that a part and the whole share: rows and positions."""


def pack(graph: onnx_ir.Graph) -> None:
    """Give each attention the unsplit product, and remove splits that nothing reads.

    Args:
        graph: graph in the onnxruntime form, changed in place.
    """
    for node in [node for node in graph if node.op_type == "GroupQueryAttention"]:
        split = _split_of(node)
        if split is None:
            continue
        whole = split.inputs[0]
        node.replace_input_with(0, whole)
        node.replace_input_with(1, None)
        node.replace_input_with(2, None)
        for part in split.outputs:
            for user, i in tuple(part.uses()):
                if _reads_rows_only(user):
                    user.replace_input_with(i, whole)
        if not any(part.uses() or part.is_graph_output() for part in split.outputs):
            graph.remove(split, safe=True)


def _split_of(node: onnx_ir.Node) -> onnx_ir.Node | None:
    """Return the Split whose results, in order, are the node's queries, keys and values."""
    query = node.inputs[0]
    split = None if query is None else query.producer()
    if split is None or split.op_type != "Split" or split.domain not in ("", "ai.onnx"):
        return None
    axis = split.attributes.get("axis")
    along_last = axis is not None and axis.as_int() in _LAST_AXIS
    return split if along_last and tuple(node.inputs[:3]) == tuple(split.outputs) else None


def _reads_rows_only(user: onnx_ir.Node) -> bool:
    """Return whether a node reads the number of rows or positions only."""
    if user.op_type != "Shape" or "start" not in user.attributes or "end" not in user.attributes:
        return False
    start, end = user.attributes["start"].as_int(), user.attributes["end"].as_int()
    return start in _ROWS and end - 1 in _ROWS
