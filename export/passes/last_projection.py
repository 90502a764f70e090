"""Find the last projections of a graph: the last products with weights before its results."""

from collections.abc import Callable, Collection
from typing import TypeGuard

import onnx_ir
from onnx_ir import DataType

PRODUCTS = frozenset({"Gemm", "MatMul", "Einsum", "Conv", "ConvTranspose", "GRU", "LSTM", "RNN"})
"""Operators that can be a last projection."""
_MOVES = frozenset(
    {"Transpose", "Reshape", "Unsqueeze", "Squeeze", "Slice", "Split", "Concat", "Expand"}
    | {"Gather", "GatherND", "GatherElements", "Identity", "Flatten"}
)
"""Operators whose result is still a weight if their input is one."""
_SIZES = frozenset({"Shape", "Size"})
_FLOATING = frozenset({DataType.FLOAT, DataType.FLOAT16, DataType.BFLOAT16})


def before_results(
    graph: onnx_ir.Graph, caches: Collection[str], is_weight: Callable[[onnx_ir.Value | None], bool]
) -> set[onnx_ir.Node]:
    """Return the last products with weights before each result, and all nodes after them.

    A look-up in a weight (Gather) is not a product: widening its result loses nothing.

    Args:
        graph: graph in any type.
        caches: names of the outputs that are caches, not results.
        is_weight: whether a value is a weight, rearranged or not.
    """
    found: set[onnx_ir.Node] = set()
    ahead = [value.producer() for value in graph.outputs if value.name not in caches]
    while ahead:
        node = ahead.pop()
        if node is None or node in found or node.op_type in _SIZES:
            continue
        if any(map(is_weight, node.outputs)):
            continue
        found.add(node)
        if node.op_type not in PRODUCTS or not any(map(is_weight, node.inputs)):
            ahead += [value.producer() for value in node.inputs if value is not None]
        for attribute in node.attributes.values():
            if attribute.type == onnx_ir.AttributeType.GRAPH:
                # A branch reads values of the graph around it.
                ahead += list(attribute.as_graph())
    return found


def is_rearrangement(
    value: onnx_ir.Value | None, is_weight: Callable[[onnx_ir.Value], bool]
) -> bool:
    """Whether a value is a weight, a rearrangement of weights or a look-up in one."""
    if value is None or is_weight(value):
        return value is not None
    node = value.producer()
    floats = [] if node is None else [each for each in node.inputs if is_float(each)]
    return (
        node is not None
        and node.op_type in _MOVES
        and bool(floats)
        and all(is_rearrangement(each, is_weight) for each in floats)
    )


def is_float(value: onnx_ir.Value | None) -> TypeGuard[onnx_ir.Value]:
    """Whether a value has a floating-point type that a bundle may have."""
    return value is not None and value.dtype in _FLOATING


def kind(value: onnx_ir.Value) -> DataType:
    """Return the type of a value, which must have one."""
    assert value.dtype is not None, value
    return value.dtype
