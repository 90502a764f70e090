"""Leave out nodes of a step that compute what another tensor already holds.

A node costs 0.5 to 1 microsecond in ONNX Runtime, whatever it computes, and a step of a small model
takes 100. The exporter translates each operator of PyTorch by itself, so a step computes its
positions and the size of its block several times. `offsets` is 0 .. s - 1 by the step's signature
(`ancestral.train.models.step.Step`), so that

    Range(0, size of offsets, 1) = offsets      Gather(x[:, None] + offsets, 0, axis=1) = x

A power of infinity is 1 for the exponent 0, and infinite for a temperature above it. The other
rules hold in every graph. No rule rounds a number, so no bit changes. The pass can go when the
exporter computes nothing twice (docs/decisions/0022).
"""

import math
from collections.abc import Callable, Hashable

import onnx_ir

from ancestral.export.passes.pattern import constant, equals, made_by, remove_unread
from ancestral.step_tensors import OFFSETS, TEMPERATURE

_Rule = Callable[[onnx_ir.Node, onnx_ir.Value], onnx_ir.Value | None]
"""A function (node, offsets) -> the value that its result equals, or None."""
_REPEATABLE = {"Add", "Sub", "Shape", "Squeeze", "Unsqueeze", "Cast"}
"""Operators of positions that are computed once; others are left as the exporter wrote them."""


def shorten(graph: onnx_ir.Graph) -> None:
    """Leave out nodes of a step graph; other graphs are not changed.

    Args:
        graph: graph in the onnxruntime form, changed in place.
    """
    offsets = next((value for value in graph.inputs if value.name == OFFSETS), None)
    # A rule may need that another one has removed a reader.
    while offsets is not None and _shortened(graph, offsets):
        pass


def _shortened(graph: onnx_ir.Graph, offsets: onnx_ir.Value) -> bool:
    """Apply each rule once to each node; return whether nodes could be removed."""
    seen: dict[Hashable, onnx_ir.Value] = {}
    before = len(graph)
    for node in list(graph):
        _read_offsets(node, offsets)
        result = node.outputs[0]
        equal = next(filter(None, (rule(node, offsets) for rule in _RULES)), None)
        if equal is None and node.op_type in _REPEATABLE:
            equal = seen.setdefault(_key(node), result)
        if equal is not None and equal is not result and not result.is_graph_output():
            onnx_ir.convenience.replace_all_uses_with(result, equal)
    remove_unread(graph)
    return len(graph) < before


def _key(node: onnx_ir.Node) -> Hashable:
    """Return what two nodes with equal results have in common; constants count by their values."""
    inputs = tuple(
        id(value)
        if (number := constant(value)) is None
        else (number.shape, str(number.dtype), number.tobytes())
        for value in node.inputs
    )
    attributes = tuple(sorted((name, repr(value)) for name, value in node.attributes.items()))
    return node.domain, node.op_type, inputs, attributes


def _read_offsets(node: onnx_ir.Node, offsets: onnx_ir.Value) -> None:
    """Let a Shape that reads the size of the block read it from `offsets`."""
    source = node.inputs[0] if node.op_type == "Shape" else None
    if source is None or source.shape is None or offsets.shape is None:
        return
    start = node.attributes.get_int("start", 0)
    if node.attributes.get_int("end", len(source.shape)) != start + 1 or start < 0:
        return
    if source.shape[start] == offsets.shape[0]:
        node.replace_input_with(0, offsets)
        node.attributes.add(onnx_ir.AttrInt64("start", 0))
        node.attributes.add(onnx_ir.AttrInt64("end", 1))


def _range(node: onnx_ir.Node, offsets: onnx_ir.Value) -> onnx_ir.Value | None:
    """Return `offsets` for Range(0, s, 1)."""
    if node.op_type != "Range" or not (equals(node.inputs[0], 0) and equals(node.inputs[2], 1)):
        return None
    squeeze = made_by(node.inputs[1], "Squeeze")
    shape = None if squeeze is None else made_by(squeeze.inputs[0], "Shape")
    return offsets if shape is not None and shape.inputs[0] is offsets else None


def _first(node: onnx_ir.Node, offsets: onnx_ir.Value) -> onnx_ir.Value | None:
    """Return x for the first column of x[:, None] + offsets."""
    if node.op_type != "Gather" or node.attributes.get_int("axis", 0) != 1:
        return None
    added = made_by(node.inputs[0], "Add") if equals(node.inputs[1], 0, rank=0) else None
    if added is None or added.inputs[1] is not offsets:
        return None
    column = made_by(added.inputs[0], "Unsqueeze")
    return column.inputs[0] if column is not None and equals(column.inputs[1], 1) else None


def _expanded(node: onnx_ir.Node, _: onnx_ir.Value) -> onnx_ir.Value | None:
    """Return the input of an Expand that changes no axis."""
    value = node.inputs[0] if node.op_type == "Expand" else None
    after = node.outputs[0].shape
    if value is None or value.shape is None or after is None:
        return None
    unknown = any(isinstance(d, onnx_ir.SymbolicDim) and d.value is None for d in value.shape)
    return value if not unknown and tuple(value.shape) == tuple(after) else None


def _scalar_size(node: onnx_ir.Node, _: onnx_ir.Value) -> onnx_ir.Value | None:
    """Return the size [1] for a scalar one that is only added to vectors."""
    shape = made_by(node.inputs[0], "Shape") if node.op_type == "Squeeze" else None
    if shape is None:
        return None
    users = [user for user, _ in node.outputs[0].uses()]
    added = [value for user in users for value in user.inputs if value is not node.outputs[0]]
    vectors = all(value is not None and value.shape and len(value.shape) for value in added)
    return node.inputs[0] if vectors and all(user.op_type == "Add" for user in users) else None


def _element(node: onnx_ir.Node, _: onnx_ir.Value) -> onnx_ir.Value | None:
    """Return one element of each row, x[.., i], by GatherND instead of two gathers."""
    chosen = made_by(node.inputs[0], "GatherElements") if node.op_type == "Gather" else None
    x, index = (None, None) if chosen is None else chosen.inputs
    if chosen is None or x is None or x.shape is None:
        return None
    last = len(x.shape) - 1
    first = equals(node.inputs[1], 0, rank=0)
    if not first or node.attributes.get_int("axis", 0) not in (-1, last):
        return None
    column = made_by(index, "Unsqueeze")
    along_last = chosen.attributes.get_int("axis", 0) in (-1, last)
    added = column is not None and any(equals(column.inputs[1], axis) for axis in (last, -1))
    if not added or not along_last:
        return None
    return _added(node, onnx_ir.node("GatherND", [x, index], {"batch_dims": last}))


def _looked_up(node: onnx_ir.Node, _: onnx_ir.Value) -> onnx_ir.Value | None:
    """Return the rows of a table, by Gather instead of an index of its own for GatherND."""
    if node.op_type != "GatherND" or node.attributes.get_int("batch_dims", 0) != 0:
        return None
    column = made_by(node.inputs[1], "Unsqueeze")
    if column is None or not equals(column.inputs[1], -1):
        return None
    return _added(node, onnx_ir.node("Gather", [node.inputs[0], column.inputs[0]], {"axis": 0}))


def _warm(node: onnx_ir.Node, _: onnx_ir.Value) -> onnx_ir.Value | None:
    """Return the infinite power for "infinity if the temperature is above 0, otherwise 1"."""
    compared = made_by(node.inputs[0], "Greater") if node.op_type == "Where" else None
    if compared is None or not (equals(node.inputs[1], math.inf) and equals(node.inputs[2], 1)):
        return None
    column = made_by(compared.inputs[0], "Unsqueeze")
    if column is None or column.inputs[0] is None or not equals(compared.inputs[1], 0):
        return None
    if column.inputs[0].name != TEMPERATURE or not column.inputs[0].is_graph_input():
        return None
    return _added(node, onnx_ir.node("Pow", [node.inputs[1], compared.inputs[0]]))


def _added(node: onnx_ir.Node, other: onnx_ir.Node) -> onnx_ir.Value:
    """Insert a node that computes the result of another one, and return its result."""
    assert node.graph is not None
    made, result = other.outputs[0], node.outputs[0]
    other.name, made.name = f"{node.name}_short", f"{result.name}_short"
    made.shape, made.type = result.shape, result.type
    node.graph.insert_before(node, other)
    return made


_RULES: tuple[_Rule, ...] = (_range, _first, _expanded, _scalar_size, _element, _looked_up, _warm)
