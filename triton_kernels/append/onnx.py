"""`append` in ONNX."""

from onnxscript.onnx_opset import opset24 as op

from ancestral.triton_kernels.append import append
from ancestral.triton_kernels.onnx_nodes import Form, Translations, Value, ints, positions


def translations(form: Form) -> Translations:
    """Return the ONNX nodes of the operator in one form."""
    return {append._opoverload: _in_place if form == "onnxruntime" else _scattered}


def _in_place(buffer: Value, position: Value, block: Value) -> Value:
    """TensorScatter, which ONNX Runtime runs in place if input and output share their memory."""
    return op.TensorScatter(buffer, block, position, axis=1)


def _scattered(buffer: Value, position: Value, block: Value) -> Value:
    """ScatterElements at position .. position + s - 1; TensorRT's TensorScatter is 4-D only."""
    slots = positions(position, block)
    if len(block.shape) > 2:
        slots = op.Expand(op.Unsqueeze(slots, ints(-1)), op.Shape(block))
    return op.ScatterElements(buffer, slots, block, axis=1)
