"""Convert a float32 graph to 16 bits: choose a type for each node, and cast where types change.

The rules are PyTorch's type promotion, with the operator lists of mixed precision:

- A product (of matrices, a convolution) or an attention with a 16-bit operand takes all its
  operands in 16 bits. The last projection, the last product with a weight before a result, is in
  float32 instead, with its weight widened.
- Sums, exponentials, logarithms, softmax and recurrent layers are float32.
- An append has the type of its buffer.
- Any other node is float32 if one of its operands is, otherwise it is in 16 bits.

A constant with a single number takes the type of its node, as in PyTorch. If 16 bits cannot hold
the number, the node is float32. The signature gives the types of inputs and results.

torch.onnx.export (torch 2.13) cannot do this: a 16-bit graph takes another trace, of a 16-bit
model (docs/decisions/0011). The pass can go when it can. Faults of runtimes: `WIDE`, `REFUSED`.

References:
    Micikevicius et al. (2018), Mixed precision training, arXiv:1710.03740, section 3.
"""

import math
from collections.abc import Mapping

import numpy as np
import onnx_ir
from numpy.typing import NDArray
from onnx_ir import DataType
from onnx_ir.passes.common import RemoveUnusedNodesPass

from ancestral.errors import ExportError
from ancestral.export.passes.last_projection import (
    PRODUCTS,
    before_results,
    is_float,
    is_rearrangement,
    kind,
)
from ancestral.export.weights import INLINE, PREFIX, SMALL, Slot
from ancestral.signature import GraphSignature

ATTENTIONS = frozenset({"Attention", "GroupQueryAttention"})
WIDE = frozenset(
    {"Softmax", "LogSoftmax", "Exp", "Log", "Pow", "Softplus", "CumSum"}
    | {"ReduceSum", "ReduceMean", "ReduceProd", "ReduceLogSum", "ReduceLogSumExp"}
    | {"ReduceL1", "ReduceL2", "ReduceSumSquare", "AveragePool", "GlobalAveragePool"}
    | {"GRU", "LSTM", "RNN"}
)
"""Operators that stay in float32: sums, functions that magnify a small error, recurrent layers.

Recurrent layers are listed because of two runtimes. ONNX Runtime (1.31, CPU, all optimisations on)
crashes with a segmentation fault when it loads a graph of a GRU model in float16, and TensorRT's
parser (tensorrt_rtx 1.7.1) refuses a GRU in bfloat16. They can leave the list when both are mended.
"""
REFUSED: Mapping[DataType, frozenset[str]] = {
    DataType.BFLOAT16: frozenset({"ConvTranspose"}),
    DataType.FLOAT16: frozenset(),
}
"""Operators that TensorRT cannot build in a type, and that stay in float32 there.

tensorrt_rtx 1.7.1 builds no transposed convolution in bfloat16, for any GPU: without this entry,
`ancestral compile` fails. An entry can go when TensorRT builds its operator.
"""
APPENDS = frozenset({"TensorScatter", "ScatterElements", "ScatterND"})
"""Operators that write into a buffer, and whose result has its type."""
OPERANDS: Mapping[str, int] = {"Resize": 1}
"""Number of first inputs that have the node's type: Resize's scales, for example, stay float32."""
_TYPED_OUTPUTS: Mapping[str, int] = {"LayerNormalization": 1}
"""Number of first outputs that have the node's type: mean and deviation stay float32."""
TYPES: Mapping[str, DataType] = {"float16": DataType.FLOAT16, "bfloat16": DataType.BFLOAT16}


def narrow(
    model: onnx_ir.Model,
    signature: GraphSignature,
    dtype: str,
    weights: Mapping[str, Slot],
    numbers: NDArray[np.float32],
) -> None:
    """Convert a graph to 16 bits, in place.

    Args:
        model: graph in float32, in any form.
        signature: signature of the converted graph.
        dtype: "float16" or "bfloat16".
        weights: place of each weight in the bundle; the graph's weights get the same types.
        numbers: sorted numbers of the small weights. A constant with only such numbers is taken
            for a weight that the exporter rearranged and folded.

    Raises:
        ExportError: a node before the last projection has a subgraph.
    """
    _Narrowing(model.graph, TYPES[dtype], weights, numbers).run(signature)
    RemoveUnusedNodesPass()(model)


def is_rearranged(constant: NDArray[np.generic], numbers: NDArray[np.float32]) -> bool:
    """Whether a constant has more than one number, all of them numbers of small weights."""
    several = constant.dtype == np.float32 and constant.size > 1
    return several and bool(np.isin(constant, numbers).all())


class _Narrowing:
    """Converts one graph; keeps its weights, its values without a type, and the casts made."""

    def __init__(
        self,
        graph: onnx_ir.Graph,
        narrow: DataType,
        weights: Mapping[str, Slot],
        numbers: NDArray[np.float32],
    ) -> None:
        self.graph, self.type = graph, narrow
        self._weights: set[onnx_ir.Value] = set()
        self._untyped: set[onnx_ir.Value] = set()
        self._casts: dict[tuple[onnx_ir.Value, DataType], onnx_ir.Value] = {}
        for name, value in graph.initializers.items():
            self._initializer(value, weights.get(name.removeprefix(PREFIX)), numbers)

    def run(self, signature: GraphSignature) -> None:
        """Set types and insert casts, node by node in order."""
        for value, spec in zip(self.graph.inputs, signature.inputs, strict=True):
            if spec.dtype in TYPES:
                value.type = onnx_ir.TensorType(self.type)
        caches = {spec.name for spec in signature.outputs if spec.dtype in TYPES}
        ends = before_results(self.graph, caches, self._is_weight)
        for node in list(self.graph):
            branches = any(a.type == onnx_ir.AttributeType.GRAPH for a in node.attributes.values())
            if branches and node not in ends:
                raise ExportError(f"{node.name}: {node.op_type} has a subgraph; export in float32")
            self._node(node, node in ends)
        for i, spec in enumerate(signature.outputs):
            self._output(i, self.type if spec.dtype in TYPES else DataType.FLOAT)

    def _initializer(
        self, value: onnx_ir.Value, slot: Slot | None, numbers: NDArray[np.float32]
    ) -> None:
        """Give a weight its type in the file, and a constant a type by its numbers."""
        tensor = value.const_value
        if tensor is None or value.dtype != DataType.FLOAT:
            return
        if slot is None and tensor.size == 1:
            self._untyped.add(value)
        elif slot.dtype == self.type if slot else is_rearranged(tensor.numpy(), numbers):
            self._weights.add(value)
            _retype(value, self.type)

    def _is_weight(self, value: onnx_ir.Value | None) -> bool:
        return is_rearrangement(value, self._weights.__contains__)

    def _node(self, node: onnx_ir.Node, end: bool) -> None:
        operands = node.inputs[: OPERANDS.get(node.op_type, len(node.inputs))]
        floats = [value for value in operands if is_float(value)]
        results = [value for value in node.outputs if value.dtype == DataType.FLOAT]
        if all(value in self._untyped for value in floats):
            if node.op_type in {"Constant", "ConstantOfShape"} or floats:
                self._untyped.update(results)
            return
        chosen = DataType.FLOAT if end else self._chosen(node, floats)
        for i, operand in enumerate(operands):
            if is_float(operand):
                node.replace_input_with(i, self._cast(operand, chosen))
        for value in results[: _TYPED_OUTPUTS.get(node.op_type, len(results))]:
            value.type = onnx_ir.TensorType(chosen)

    def _chosen(self, node: onnx_ir.Node, floats: list[onnx_ir.Value]) -> DataType:
        """Choose the type of a node before the last projections, by its operator and operands."""
        typed = [value.dtype for value in floats if value not in self._untyped]
        if node.op_type in APPENDS and floats[0] not in self._untyped:
            return kind(floats[0])
        if node.op_type in WIDE | REFUSED[self.type] | {"Cast"} or self.type not in typed:
            return DataType.FLOAT
        if not all(map(self._fits, floats)):
            return DataType.FLOAT
        if node.op_type in PRODUCTS | ATTENTIONS:
            return self.type
        return DataType.FLOAT if DataType.FLOAT in typed else self.type

    def _fits(self, value: onnx_ir.Value) -> bool:
        """Whether a value is not a constant number, or one that 16 bits can hold."""
        if value not in self._untyped:
            return True
        tensor = onnx_ir.convenience.get_const_tensor(value)
        number = tensor.numpy().item() if tensor is not None and tensor.size == 1 else 0.0
        if number == 0:
            return True
        with np.errstate(over="ignore", under="ignore"):
            kept = float(np.array(number, np.float32).astype(self.type.numpy()))
        return math.isfinite(kept) and kept != 0

    def _cast(self, value: onnx_ir.Value, to: DataType) -> onnx_ir.Value:
        """Return the value in a type: itself, a converted constant, or the output of a Cast."""
        if value.dtype == to:
            return value
        if (value, to) not in self._casts:
            name = f"{value.name}.{to.name.lower()}"
            tensor = onnx_ir.convenience.get_const_tensor(value)
            if tensor is not None and (tensor.nbytes <= SMALL or value in self._untyped):
                self._casts[value, to] = self._constant(name, tensor, to)
            else:
                self._casts[value, to] = self._cast_node(name, value, to)
        return self._casts[value, to]

    def _constant(self, name: str, tensor: onnx_ir.TensorProtocol, to: DataType) -> onnx_ir.Value:
        made = onnx_ir.Value(name=name, type=onnx_ir.TensorType(to))
        made.const_value = _converted(tensor, to, name)
        made.shape = onnx_ir.Shape(tensor.shape.numpy())
        self.graph.register_initializer(made)
        return made

    def _cast_node(self, name: str, value: onnx_ir.Value, to: DataType) -> onnx_ir.Value:
        node = onnx_ir.node("Cast", [value], {"to": to}, name=name)
        made = node.outputs[0]
        made.name, made.shape, made.type = name, value.shape, onnx_ir.TensorType(to)
        producer = value.producer()
        if producer is None:
            self.graph.insert_before(self.graph[0], node)
        else:
            self.graph.insert_after(producer, node)
        return made

    def _output(self, index: int, to: DataType) -> None:
        """Give an output its type in the signature, and keep its name."""
        value = self.graph.outputs[index]
        if not is_float(value) or value.dtype == to:
            return
        name = value.name
        value.name = f"{name}.{kind(value).name.lower()}"
        cast = self._cast(value, to)
        cast.name = name
        self.graph.outputs[index] = cast


def _retype(value: onnx_ir.Value, to: DataType) -> None:
    """Change the type of an initializer; a large one is converted only when it is read."""
    tensor, name = value.const_value, str(value.name)
    assert tensor is not None
    value.type = onnx_ir.TensorType(to)
    if tensor.nbytes <= INLINE:
        value.const_value = _converted(tensor, to, name)
    else:
        shape = onnx_ir.Shape(tensor.shape.numpy())
        value.const_value = onnx_ir.LazyTensor(
            lambda: _converted(tensor, to, name), to, shape, name=name
        )


def _converted(tensor: onnx_ir.TensorProtocol, to: DataType, name: str) -> onnx_ir.TensorProtocol:
    with np.errstate(over="ignore", under="ignore"):
        array = tensor.numpy().astype(np.float32).astype(to.numpy())
    return onnx_ir.tensor(array, dtype=to, name=name)
