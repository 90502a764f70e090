"""Random changes of an ONNX graph that stays an ONNX file: attributes, edges, types, sizes."""

import random
from collections.abc import Sequence
from typing import Any

import onnx

from tests.fuzz.control import NOTHING, untouched

_INTEGERS = (-1, 0, 1, 2, 7, 2**31 - 1, 2**40, -(2**63))


def changed(content: bytes, rng: random.Random) -> tuple[bytes, str]:
    """Return a changed ModelProto in bytes, and a description of the changes."""
    if untouched(rng):
        return content, NOTHING
    model = onnx.load_model_from_string(content)
    notes = [_change(model.graph, rng) for _ in range(rng.choice((1, 1, 2)))]
    return model.SerializeToString(), "; ".join(notes)


def _change(graph: onnx.GraphProto, rng: random.Random) -> str:
    node = rng.choice(graph.node)
    match rng.randrange(8):
        case 0 if node.attribute:
            return _attribute(rng.choice(node.attribute), node, rng)
        case 1 if node.input:
            names = [name for each in graph.node for name in (*each.input, *each.output)]
            i = rng.randrange(len(node.input))
            node.input[i] = rng.choice(names)
            return f"{node.op_type}: input {i} is {node.input[i]!r}"
        case 2:
            other = rng.choice(graph.node)
            node.op_type, node.domain = other.op_type, other.domain
            return f"{node.name}: is now {other.op_type}"
        case 3:
            graph.node.remove(node)
            return f"{node.op_type} {node.name}: removed"
        case 4:
            value = rng.choice([*graph.input, *graph.output])
            value.type.tensor_type.elem_type = rng.randrange(24)
            return f"{value.name}: element type {value.type.tensor_type.elem_type}"
        case 5:
            return _axis(rng.choice([*graph.input, *graph.output]), rng)
        case 6 if graph.initializer:
            return _tensor(rng.choice(graph.initializer), rng)
        case _:
            graph.node.append(node)
            return f"{node.op_type} {node.name}: twice"


def _attribute(attribute: onnx.AttributeProto, node: onnx.NodeProto, rng: random.Random) -> str:
    match attribute.type:
        case onnx.AttributeProto.INT:
            attribute.i = rng.choice(_INTEGERS)
        case onnx.AttributeProto.INTS:
            attribute.ints[:] = [rng.choice(_INTEGERS) for _ in range(rng.randrange(4))]
        case onnx.AttributeProto.FLOAT:
            attribute.f = rng.choice((float("nan"), float("inf"), 0.0, -1e30))
        case onnx.AttributeProto.TENSOR:
            return _tensor(attribute.t, rng)
        case _:
            attribute.s = b"\xff\0"
    return f"{node.op_type}: attribute {attribute.name}"


def _axis(value: onnx.ValueInfoProto, rng: random.Random) -> str:
    axes: Sequence[Any] = value.type.tensor_type.shape.dim
    if not axes:
        value.type.tensor_type.shape.dim.add().dim_value = rng.choice(_INTEGERS)
        return f"{value.name}: one more axis"
    axis = rng.choice(axes)
    axis.dim_value = rng.choice(_INTEGERS)
    return f"{value.name}: an axis of {axis.dim_value}"


def _tensor(tensor: onnx.TensorProto, rng: random.Random) -> str:
    match rng.randrange(4):
        case 0 if tensor.dims:
            tensor.dims[rng.randrange(len(tensor.dims))] = rng.choice(_INTEGERS)
        case 1:
            tensor.data_type = rng.randrange(24)
        case 2 if tensor.external_data:
            entry = rng.choice(tensor.external_data)
            entry.value = rng.choice(("", "-1", "0", "1" * 30, "x", "../weights", "\0", "8"))
            return f"{tensor.name}: external {entry.key} {entry.value!r}"
        case _:
            tensor.raw_data = rng.randbytes(rng.choice((0, 1, 8, 64)))
    return f"{tensor.name}: dims {list(tensor.dims)}, type {tensor.data_type}"
