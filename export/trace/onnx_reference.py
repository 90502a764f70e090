"""The ONNX standard as a source of a trace, and as the judge of single nodes: onnx.reference.

It runs a node at a time, in NumPy: slow, and without operators of other domains.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
from onnx.reference import ReferenceEvaluator
from onnx.reference.op_run import OpRun

from ancestral.errors import InvalidInput
from ancestral.export.operators import Form
from ancestral.export.trace.graph import Array, Graph


class OnnxReference:
    """The evaluator of the onnx package, on portable graphs."""

    name = "onnx"
    form: Form = "portable"
    device = "cpu"

    @property
    def version(self) -> str:
        return str(onnx.__version__)

    def tensors(self, graph: Graph, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Every tensor that a node makes.

        Raises:
            InvalidInput: it cannot run a node; the message says which.
        """
        nodes = OnnxNodes(graph)
        values = dict(inputs)
        for node in graph.model.graph.node:
            try:
                values |= nodes.run(node.output[0], values)
            except NotImplementedError as error:
                raise InvalidInput(
                    f"backend 'onnx': graph {graph.name}: {error}; trace it on onnxruntime or torch"
                ) from error
        return {name: values[name] for node in graph.nodes for name in node.outputs}

    def outputs(self, graph: Graph, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """The same: there is no other way of running a graph."""
        tensors = self.tensors(graph, inputs)
        return {name: tensors[name] for name in graph.output_names}


class OnnxNodes:
    """The nodes of a graph, each of which can be run alone; weights are read when first needed."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._nodes = {node.output[0]: node for node in graph.model.graph.node}
        self._initializers = {each.name: each for each in graph.model.graph.initializer}
        self._opsets = {each.domain: each.version for each in graph.model.opset_import}

    def run(self, output: str, values: Mapping[str, Array]) -> dict[str, Array]:
        """What the node gives whose first output has that name, from these tensors.

        Raises:
            NotImplementedError: the evaluator has no such operator, or not in this form; or a
                tensor is not known.
        """
        node = self._nodes[output]
        if node.domain or any(each.HasField("g") for each in node.attribute):
            raise NotImplementedError(f"onnx.reference has no {node.op_type} of {node.name}")
        names = [name for name in dict.fromkeys(node.input) if name]
        feeds = {name: self._value(name, values) for name in names}
        outputs = [name for name in node.output if name]
        proto = onnx.helper.make_graph(
            [node],
            node.name,
            [_typed(name, array) for name, array in feeds.items()],
            [onnx.ValueInfoProto(name=name) for name in outputs],
        )
        try:
            with np.errstate(all="ignore"):
                evaluator = ReferenceEvaluator(proto, opsets=self._opsets, new_ops=[GatherElements])
                results = evaluator.run(outputs, feeds)
        except Exception as error:
            raise NotImplementedError(
                f"onnx.reference cannot run {node.op_type} {node.name}: {error}"
            ) from error
        return dict(zip(outputs, map(_array, results), strict=True))

    def _value(self, name: str, values: Mapping[str, Array]) -> Array:
        if name in values:
            return values[name]
        if name not in self._initializers:
            raise NotImplementedError(f"tensor {name} is not known")
        folder = str(self._graph.file.parent)
        return np.asarray(onnx.numpy_helper.to_array(self._initializers[name], folder))


class GatherElements(OpRun):
    """As ONNX has it: the package's own wants indices as large as the data on every other axis."""

    op_domain = ""

    def _run(self, data: Array, indices: Array, axis: int = 0) -> tuple[Array]:
        axis %= data.ndim
        part = tuple(slice(None if i == axis else size) for i, size in enumerate(indices.shape))
        return (np.take_along_axis(data[part], indices, axis),)


def _typed(name: str, array: Array) -> onnx.ValueInfoProto:
    kind = onnx.helper.np_dtype_to_tensor_dtype(array.dtype)
    return onnx.helper.make_tensor_value_info(name, kind, array.shape)


def _array(value: Any) -> Array:
    return np.asarray(value)
