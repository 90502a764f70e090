"""Read scales of quantised weights from float16, in which the weights file has them.

Runtimes take scales in the type of the activations. A Cast of a constant is computed once, when a
graph is loaded. This pass can go when MatMulNBits of ONNX Runtime (1.31, CPU) takes float16 scales
with float32 activations.
"""

from collections.abc import Mapping

import numpy as np
import onnx_ir
from onnx_ir import DataType

from ancestral.export.weights import PREFIX, Slot


def widen_scales(graph: onnx_ir.Graph, weights: Mapping[str, Slot]) -> None:
    """Store float32 initializers in float16 if the weights file does, and cast them where read.

    Args:
        graph: graph of a float32 bundle, changed in place.
        weights: place of each tensor in the file, by its name in the model.
    """
    for name, value in list(graph.initializers.items()):
        slot, tensor = weights.get(name.removeprefix(PREFIX)), value.const_value
        if slot is None or tensor is None:
            continue
        if (slot.dtype, value.dtype) != (DataType.FLOAT16, DataType.FLOAT):
            continue
        array = tensor.numpy().astype(np.float16)
        stored = onnx_ir.Value(name=name, type=onnx_ir.TensorType(slot.dtype))
        stored.shape, stored.const_value = value.shape, onnx_ir.tensor(array, name=name)
        cast = onnx_ir.node("Cast", [stored], {"to": DataType.FLOAT}, name=f"{name}.float32")
        made = cast.outputs[0]
        made.name, made.shape, made.type = f"{name}.float32", value.shape, value.type
        value.replace_all_uses_with(made)
        del graph.initializers[name]
        graph.register_initializer(stored)
        graph.insert_before(graph[0], cast)
