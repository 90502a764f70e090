"""The ONNX standard as a runtime, and as the judge of single nodes: onnx.reference.

It runs a node at a time, in NumPy: slow, and without operators of other domains.
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
    """Every tensor that a node makes; there is no other way of running a graph.

    Raises:
        InvalidInput: it cannot run a node; the message says which.
    """
    values = dict(inputs)
    for node in graph.nodes:
        try:
            values |= run_node(graph, node, values)
        except NotImplementedError as error:
            raise InvalidInput(
                f"backend 'onnx': graph {graph.name}: {error}; trace it on onnxruntime or torch"
            ) from error
    outputs = {value.name: values[value.name] for value in graph.model.graph.output}
    return Trace(graph, inputs, {name: values[name] for name in graph.made_by}, outputs)


ONNX_REFERENCE = Runtime(f"onnx {onnx.__version__} cpu", "portable", _trace)
"""The evaluator of the onnx package, on portable graphs."""


def run_node(graph: Graph, node: onnx.NodeProto, values: Mapping[str, Array]) -> dict[str, Array]:
    """What a node of a graph makes of these tensors; weights are read when they are needed.

    Raises:
        NotImplementedError: the evaluator has no such operator, or not in this form; or a tensor
            is not known.
    """
    if node.domain or any(each.HasField("g") for each in node.attribute):
        raise NotImplementedError(f"onnx.reference has no {node.op_type} of {node.name}")
    feeds = {name: _value(graph, name, values) for name in node.input if name}
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
        raise NotImplementedError(
            f"onnx.reference cannot run {node.op_type} {node.name}: {error}"
        ) from error
    return dict(zip(outputs, map(np.asarray, results), strict=True))


class GatherElements(OpRun):
    """As ONNX has it: the package's own wants indices as large as the data on every other axis."""

    op_domain = ""

    def _run(self, data: Array, indices: Array, axis: int = 0) -> tuple[Array]:
        axis %= data.ndim
        part = tuple(slice(None if i == axis else size) for i, size in enumerate(indices.shape))
        return (np.take_along_axis(data[part], indices, axis),)


def _value(graph: Graph, name: str, values: Mapping[str, Array]) -> Array:
    if name in values:
        return values[name]
    for tensor in graph.model.graph.initializer:
        if tensor.name == name:
            return np.asarray(onnx.numpy_helper.to_array(tensor, str(graph.file.parent)))
    raise NotImplementedError(f"tensor {name} is not known")


def _typed(name: str, array: Array) -> Any:
    kind = onnx.helper.np_dtype_to_tensor_dtype(array.dtype)
    return onnx.helper.make_tensor_value_info(name, kind, array.shape)
