"""The nodes of one branch of an If, written as those of a graph are."""

from typing import Any

import onnx_ir

from ancestral.triton_kernels.onnx_nodes import Value


class Branch:
    """The nodes of a branch; like onnxscript's `op`, it has a method for each operator."""

    def __init__(self, name: str) -> None:
        """Start a branch; the name of each of its values begins with `name`."""
        self._name = name
        self._nodes: list[onnx_ir.Node] = []

    def __getattr__(self, operator: str) -> Any:
        def add(*inputs: Value, **attributes: Any) -> Value:
            count = 2 if operator == "TopK" else 1
            node = onnx_ir.node(operator, inputs, attributes, num_outputs=count)
            node.name = f"{self._name}.{len(self._nodes)}"
            for i, output in enumerate(node.outputs):
                output.name = f"{node.name}.y{i}"
            self._nodes.append(node)
            return tuple(node.outputs) if count > 1 else node.outputs[0]

        return add

    def graph(self, output: Value) -> onnx_ir.Graph:
        """Return the branch, which has no inputs and one float32 output."""
        output.type = onnx_ir.TensorType(onnx_ir.DataType.FLOAT)
        return onnx_ir.Graph([], [output], nodes=self._nodes, name=self._name)
