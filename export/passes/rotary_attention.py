"""Let GroupQueryAttention rotate queries and keys by the angles of their slots.

The exporter writes the rotations of a layer as some twenty nodes. ONNX Runtime's operator computes
them from the tables of cosines and sines: it rotates feature i with feature i + w/2 of the first w,
and reads the slots of a row from its length input. Where heads are not normalised before, the pass
`packed_attention` can then pass it the unsplit product.

ONNX Runtime (1.31, CPU) requires a head size and a number of rotated features that are multiples of
16; other attentions stay as the exporter writes them. Products and sums are rounded in another
order, so the last bits of keys differ from those of the nodes. The pass can go when the exporter
writes rotations as one operator (docs/decisions/0022).
"""

from collections.abc import Sequence
from typing import NamedTuple

import onnx_ir

from ancestral.export.passes.pattern import equals, made_by, remove_unread
from ancestral.step_tensors import OFFSETS

_MULTIPLE = 16
"""The operator requires that this divides the size of a head and the rotated features."""
_KEY_CACHE, _LAST_SLOT, _COSINE, _SINE = 3, 5, 7, 8
"""Indices of inputs of GroupQueryAttention, after query, key and value."""
_FEATURES = 3
"""Axis of the features of [b, s, h, d]."""


class _Rotation(NamedTuple):
    """A rotation that the exporter has written.

    Attributes:
        x: heads before the rotation, [b, s, h, d].
        merge: the Reshape of the rotated heads to [b, s, h d].
        width: number of rotated features.
        cosine: cosine of each slot's angles, [T, width / 2].
        sine: their sines.
        slots: slot of each position, [b, s].
    """

    x: onnx_ir.Value
    merge: onnx_ir.Node
    width: int
    cosine: onnx_ir.Value
    sine: onnx_ir.Value
    slots: onnx_ir.Value


def rotate_inside(graph: onnx_ir.Graph) -> None:
    """Give each attention the tables, and its queries and keys before the rotation.

    Args:
        graph: graph in the onnxruntime form after `shorten`, changed in place.
    """
    for node in [node for node in graph if node.op_type == "GroupQueryAttention"]:
        query, key = (_rotation(value) for value in node.inputs[:2])
        if query is None or key is None or query[2:] != key[2:] or not _fits(node, query):
            continue
        node.resize_inputs(_SINE + 1)
        node.replace_input_with(_COSINE, query.cosine)
        node.replace_input_with(_SINE, query.sine)
        for i, rotation in enumerate((query, key)):
            node.replace_input_with(i, _merged(rotation))
        node.attributes.add(onnx_ir.AttrInt64("do_rotary", 1))
        node.attributes.add(onnx_ir.AttrInt64("rotary_interleaved", 0))
    remove_unread(graph)


def _fits(node: onnx_ir.Node, rotation: _Rotation) -> bool:
    """Return whether the operator has the sizes and the slots of a rotation."""
    cache, table = node.inputs[_KEY_CACHE], rotation.cosine.shape
    if cache is None or cache.shape is None or table is None:
        return False
    length, head = cache.shape[2:]
    if tuple(table) != (length, rotation.width // 2) or rotation.width % _MULTIPLE:
        return False
    if not isinstance(head, int) or head % _MULTIPLE:
        return False
    # The operator counts slots back from the last one, first + s - 1.
    added = made_by(rotation.slots, "Add")
    last = made_by(_input(made_by(node.inputs[_LAST_SLOT], "Sub")), "Cast")
    end = made_by(_input(last), "Add")
    first = _input(made_by(_input(added), "Unsqueeze"))
    if added is None or end is None or first is not _input(end):
        return False
    offsets = added.inputs[1]
    return offsets is not None and offsets.is_graph_input() and offsets.name == OFFSETS


def _merged(rotation: _Rotation) -> onnx_ir.Value:
    """Return heads before the rotation as [b, s, h d]."""
    parts = _input(made_by(rotation.x, "Reshape"))
    after = rotation.merge.outputs[0].shape
    if parts is not None and parts.shape is not None and after is not None:
        known = len(parts.shape) == len(after) == _FEATURES
        if known and parts.shape[-1] == after[-1]:
            return parts
    rotation.merge.replace_input_with(0, rotation.x)
    return rotation.merge.outputs[0]


def _rotation(value: onnx_ir.Value | None) -> _Rotation | None:
    """Return the rotation that makes queries or keys, [b, s, h d]."""
    merge = made_by(value, "Reshape")
    joined = made_by(_input(merge), "Concat")
    if merge is None or joined is None or joined.attributes.get_int("axis", 0) not in (-1, 3):
        return None
    turned, rest = joined.inputs[:2], joined.inputs[2:]
    products = _products(made_by(turned[0], "Sub")), _products(made_by(turned[1], "Add"))
    if products[0] is None or products[1] is None:
        return None
    (first, cosine), (second, sine) = products[0]
    if products[1] != ((second, cosine), (first, sine)):
        return None
    halves = made_by(first, "Split")
    if halves is None or tuple(halves.outputs) != (first, second):
        return None
    if halves.attributes.get_int("axis", 0) != _FEATURES or len(halves.inputs) != 1:
        return None
    x, width = _source(halves.inputs[0], rest)
    tables = _looked_up(cosine), _looked_up(sine)
    if x is None or tables[0] is None or tables[1] is None or tables[0][1] is not tables[1][1]:
        return None
    return _Rotation(x, merge, width, tables[0][0], tables[1][0], tables[0][1])


_Product = tuple[onnx_ir.Value | None, onnx_ir.Value | None]


def _products(node: onnx_ir.Node | None) -> tuple[_Product, _Product] | None:
    """Return the factors of the two products that a node adds or subtracts."""
    if node is None:
        return None
    a, b = (made_by(value, "Mul") for value in node.inputs)
    if a is None or b is None:
        return None
    return (a.inputs[0], a.inputs[1]), (b.inputs[0], b.inputs[1])


def _source(
    rotated: onnx_ir.Value | None, rest: Sequence[onnx_ir.Value | None]
) -> tuple[onnx_ir.Value | None, int]:
    """Return the heads whose first features are rotated, and the number of these features."""
    if rotated is None or rotated.shape is None or not isinstance(rotated.shape[-1], int):
        return None, 0
    width = rotated.shape[-1]
    if not rest:
        return rotated, width
    head, tail = made_by(rotated, "Slice"), made_by(rest[0], "Slice")
    if len(rest) > 1 or head is None or tail is None or head.inputs[0] is not tail.inputs[0]:
        return None, 0
    x = head.inputs[0]
    if x is None or x.shape is None or rest[0] is None or rest[0].shape is None:
        return None, 0
    whole = x.shape[-1], (width + rest[0].shape[-1])
    starts = equals(head.inputs[1], 0) and equals(tail.inputs[1], width)
    axes = all(equals(node.inputs[3], _FEATURES) for node in (head, tail))
    if not (starts and axes) or whole[0] != whole[1]:
        return None, 0
    return x, width


def _looked_up(
    angles: onnx_ir.Value | None,
) -> tuple[onnx_ir.Value, onnx_ir.Value] | None:
    """Return the table [T, half] and the slots [b, s] of table[slots][:, :, None]."""
    widened = made_by(angles, "Unsqueeze")
    gather = made_by(_input(widened), "Gather")
    if widened is None or gather is None or not equals(widened.inputs[1], 2):
        return None
    table, slots = gather.inputs
    if table is None or slots is None or gather.attributes.get_int("axis", 0) != 0:
        return None
    return table, slots


def _input(node: onnx_ir.Node | None) -> onnx_ir.Value | None:
    """Return the first input of a node."""
    return None if node is None else node.inputs[0]
