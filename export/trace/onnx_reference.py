"""The ONNX standard's evaluator, onnx.reference, as a runtime and as the judge of single nodes.

It runs one node at a time in NumPy. It is slow, and has only standard operators.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
from onnx.reference import ReferenceEvaluator
from onnx.reference.op_run import OpRun

from ancestral.errors import InvalidInput
from ancestral.export.trace.graph import Array, Graph, made
from ancestral.export.trace.run import Runtime, Trace


def _trace(graph: Graph, inputs: Mapping[str, Array]) -> Trace:
    """Run a graph node by node, and return every tensor.

    Raises:
        InvalidInput: the evaluator cannot run a node.
    """
    values = dict(inputs)
    for node in graph.nodes:
        try:
            values |= run_node(graph, node, values)
        except NotImplementedError as error:
            raise InvalidInput(
                f"backend 'onnx': graph {graph.name!r}: {error}; trace it on onnxruntime or torch"
            ) from error
    outputs = {value.name: values[value.name] for value in graph.model.graph.output}
    return Trace(graph, inputs, {name: values[name] for name in graph.made_by}, outputs)


ONNX_REFERENCE = Runtime(f"onnx {onnx.__version__} cpu", "portable", _trace)
"""Runtime of the onnx package's evaluator, for portable graphs."""


def run_node(graph: Graph, node: onnx.NodeProto, values: Mapping[str, Array]) -> dict[str, Array]:
    """Run one node of a graph with onnx.reference.

    Args:
        graph: graph of the node; its weights are read when they are needed.
        node: node to run.
        values: tensors of the graph by name.

    Returns:
        The node's outputs by name.

    Raises:
        NotImplementedError: the evaluator cannot run the node, or an input of it has no value.
    """
    what = f"onnx.reference cannot run node {node.name!r} ({node.op_type})"
    if node.domain:
        raise NotImplementedError(f"{what}: the operator is of {node.domain}, not of ONNX")
    if any(each.HasField("g") for each in node.attribute):
        raise NotImplementedError(f"{what}: it has a subgraph, but nodes are run singly")
    feeds = {}
    for name in filter(None, node.input):
        value = _value(graph, name, values)
        if value is None:
            raise NotImplementedError(f"{what}: its input {name!r} has no value")
        feeds[name] = value
    outputs = made(node)
    proto = onnx.helper.make_graph(
        [node],
        node.name,
        [_typed(name, array) for name, array in feeds.items()],
        [onnx.ValueInfoProto(name=name) for name in outputs],
    )
    opsets = {each.domain: each.version for each in graph.model.opset_import}
    try:
        with np.errstate(all="ignore"):
            evaluator = ReferenceEvaluator(proto, opsets=opsets, new_ops=[GatherElements])
            results = evaluator.run(outputs, feeds)
    except Exception as error:
        raise NotImplementedError(f"{what}: {' '.join(str(error).split())}") from error
    return dict(zip(outputs, map(np.asarray, results), strict=True))


class GatherElements(OpRun):
    """GatherElements as the ONNX standard defines it.

    This works around onnx 1.23.2, whose evaluator refuses indices that are shorter than the data
    on another axis; without it, graphs with rings cannot be judged. It can go when onnx allows
    such indices.
    """

    op_domain = ""

    def _run(self, data: Array, indices: Array, axis: int = 0) -> tuple[Array]:
        axis %= data.ndim
        part = tuple(slice(None if i == axis else size) for i, size in enumerate(indices.shape))
        return (np.take_along_axis(data[part], indices, axis),)


def _value(graph: Graph, name: str, values: Mapping[str, Array]) -> Array | None:
    """Return a tensor or a weight by name; None if it is neither."""
    if name in values:
        return values[name]
    for tensor in graph.model.graph.initializer:
        if tensor.name == name:
            return np.asarray(onnx.numpy_helper.to_array(tensor, str(graph.file.parent)))
    return None


def _typed(name: str, array: Array) -> Any:
    kind = onnx.helper.np_dtype_to_tensor_dtype(array.dtype)
    return onnx.helper.make_tensor_value_info(name, kind, array.shape)
